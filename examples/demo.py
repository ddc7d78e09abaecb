"""The demo that `make run` deploys: an echo and a greeting."""

from json import dumps

from zatotx import Service


class Echo(Service):
    """Answers with the JSON it was sent."""

    name = 'demo.echo'

    async def handle(self):
        payload = self.request.payload
        # Text is answered as it stands; to be JSON again it needs its quotes.
        self.response.payload = dumps(payload) if isinstance(payload, str) else payload


class Hello(Service):
    """Greets whom the path names, in the language asked for."""

    name = 'demo.hello'
    input = 'name', '-lang'
    output = 'greeting'

    words = {'de': 'Hallo', 'en': 'Hello', 'fr': 'Bonjour', 'pl': 'Cześć'}

    async def handle(self):
        word = self.words.get(self.request.input.lang, self.words['en'])
        self.response.payload = {'greeting': f'{word}, {self.request.input.name}!'}
