"""The demo that `make run` deploys: an echo and a greeting."""

from zatotx import Service


class Echo(Service):
    """Answers with the JSON it was sent."""

    name = 'demo.echo'

    async def handle(self):
        self.response.payload = self.request.payload


class Hello(Service):
    """Greets whom the path names, in the language asked for."""

    name = 'demo.hello'
    input = 'name', '-lang'
    output = 'greeting'

    words = {'de': 'Hallo', 'en': 'Hello', 'fr': 'Bonjour', 'pl': 'Cześć'}

    async def handle(self):
        word = self.words.get(self.request.input.lang, self.words['en'])
        self.response.payload = {'greeting': f'{word}, {self.request.input.name}!'}
