"""What the acceptance environments serve: a module of services, each with one habit, and a channel for each."""

from __future__ import annotations

from trial_tests.support.broker import Broker, create, shared

USER, PASSWORD = 'api.user', 'a pass: word é'

SERVICES = '''
import sys
import time

import msgspec
from twisted.internet.defer import Deferred

from zatotx import BadRequest, Int, Service


class Row(msgspec.Struct):
    id: int
    name: str


class Echo(Service):
    """ Answers what it was sent. """
    name = 'acc.echo'

    async def handle(self):
        self.response.payload = self.request.payload


class EchoInThread(Service):
    name = 'acc.echo.thread'

    def handle(self):
        self.response.payload = self.request.payload


class Raw(Service):
    """ How many bytes came. """
    name = 'acc.raw'

    async def handle(self):
        self.response.payload = str(len(self.request.raw_request))


class Typed(Service):
    name = 'acc.typed'
    input = Int('qty'), 'name', '-note'
    output = 'qty', 'name'

    async def handle(self):
        self.response.payload = {'qty': self.request.input.qty, 'name': self.request.input.name}


class Rows(Service):
    """ A list of models, back as it came. """
    name = 'acc.rows'
    input = output = list[Row]

    async def handle(self):
        self.response.payload = self.request.input


class Hello(Service):
    name = 'acc.hello'
    input = 'who'
    output = 'text'

    async def handle(self):
        self.response.payload = {'text': 'Hello ' + self.request.input.who}


class Stream(Service):
    """ A hundred mebibytes, a piece at a time. """
    name = 'acc.stream'

    async def handle(self):
        self.response.stream(self.pieces())

    async def pieces(self):
        sent = 0
        try:
            while sent < 1600:
                yield b'x' * 65536
                sent += 1
        finally:
            self.logger.info('Stream over after %d pieces', sent)


class Raises(Service):
    name = 'acc.raises'

    async def handle(self):
        raise ValueError('a-secret-of-the-inside')


class RaisesInThread(Service):
    name = 'acc.raises.thread'

    def handle(self):
        raise KeyError('a-secret-of-the-inside')


class SaysWhy(Service):
    name = 'acc.says-why'

    async def handle(self):
        raise BadRequest(self.cid, 'The account is closed')


class Exits(Service):
    name = 'acc.exits'

    async def handle(self):
        sys.exit(3)


class ExitsInThread(Service):
    name = 'acc.exits.thread'

    def handle(self):
        sys.exit(3)


class Endless(Service):
    name = 'acc.endless'

    async def handle(self):
        await self.invoke('acc.endless')


class Hangs(Service):
    name = 'acc.hangs'

    async def handle(self):
        self.logger.info('Hanging now')
        try:
            await Deferred()
        finally:
            self.logger.info('Hanging no more')


class HangsInThread(Service):
    name = 'acc.hangs.thread'

    def handle(self):
        time.sleep(2)


class Blocks(Service):
    """ What nobody should do: holds the reactor. """
    name = 'acc.blocks'

    async def handle(self):
        time.sleep(2)  # the line that the log names
        self.response.payload = {'blocked': True}


class WrongType(Service):
    name = 'acc.wrong-type'

    async def handle(self):
        self.response.payload = {'value': object()}


class WrongTypeInThread(Service):
    name = 'acc.wrong-type.thread'

    def handle(self):
        self.response.payload = object()


class Headers(Service):
    """ Tries to write a header of its own into the answer's head. """
    name = 'acc.splits'

    async def handle(self):
        self.response.headers['X-Split'] = 'a\\r\\nX-Injected: yes'
        self.response.payload = {}
'''

CHANNELS = f'''
security:
  - {{name: {USER}, type: basic_auth, username: {USER}, realm: API, password: "{PASSWORD}"}}
channel_rest:
  - {{name: acc.echo, url_path: /acc/echo, service: acc.echo, method: POST, security: null, data_format: json}}
  - {{name: acc.secure, url_path: /acc/secure, service: acc.echo, method: POST, security: {USER}, data_format: json}}
  - {{name: acc.thread, url_path: /acc/thread, service: acc.echo.thread, security: null, data_format: json}}
  - {{name: acc.raw, url_path: /acc/raw, service: acc.raw, security: null}}
  - {{name: acc.typed, url_path: /acc/typed, service: acc.typed, security: null, data_format: json}}
  - {{name: acc.xml, url_path: /acc/xml, service: acc.echo, security: null, data_format: xml}}
  - {{name: acc.xml.typed, url_path: /acc/xml/typed, service: acc.typed, security: null, data_format: xml}}
  - {{name: acc.xml.rows, url_path: /acc/xml/rows, service: acc.rows, security: null, data_format: xml}}
  - {{name: acc.form, url_path: /acc/form, service: acc.typed, method: POST, security: null, data_format: form}}
  - name: acc.hello
    url_path: /acc/hello/{{who}}
    service: acc.hello
    method: GET
    security: null
    data_format: json
  - {{name: acc.stream, url_path: /acc/stream, service: acc.stream, security: null}}
'''
FAULTY = ('raises', 'raises.thread', 'says-why', 'exits', 'exits.thread', 'endless', 'hangs', 'hangs.thread', 'blocks',
          'wrong-type', 'wrong-type.thread', 'splits')


def document() -> str:
    """The enmasse file of all of it."""
    rows = [f'  - {{name: acc.{name}, url_path: /acc/{name}, service: acc.{name}, security: null, data_format: json}}'
            for name in FAULTY]
    return CHANNELS + '\n'.join(rows) + '\n'


def serve(broker: Broker) -> Broker:
    """Start it and have it serve all of this."""
    broker.start()
    broker.serve('acc.py', SERVICES)
    broker.configure(document())
    return broker


def one_server() -> Broker:
    """The environment that most acceptance tests share."""
    return shared('one', lambda: serve(create()))


def two_servers() -> Broker:
    """The same with two servers."""
    return shared('two', lambda: serve(create(servers=2)))
