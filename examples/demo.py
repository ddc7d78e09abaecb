"""The demo services that `make run` deploys: an echo and a greeting."""

from json import dumps

from zatotx import Service


class Echo(Service):
    """Responds with the JSON that it receives."""

    name = 'demo.echo'

    async def handle(self):
        payload = self.request.payload
        # Text is sent unchanged, so it must be encoded to be JSON.
        self.response.payload = dumps(payload) if isinstance(payload, str) else payload


class Hello(Service):
    """Greets the person named in the path, in the requested language."""

    name = 'demo.hello'
    input = 'name', '-lang'
    output = 'greeting'

    words = {'de': 'Hallo', 'en': 'Hello', 'fr': 'Bonjour', 'pl': 'Cześć'}

    async def handle(self):
        word = self.words.get(self.request.input.lang, self.words['en'])
        self.response.payload = {'greeting': f'{word}, {self.request.input.name}!'}


class Tick(Service):
    """Logs for which time the scheduler runs it: every five seconds, on one of the servers."""

    name = 'demo.tick'

    async def handle(self):
        job = self.job
        when = f'{job.name} at {job.scheduled:%H:%M:%S}' if job else 'no job'
        self.logger.info('Tick for %s', when)
