"""The test kit answers what a server answers: the same services, asked the same way, in memory and over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker
from trial_tests.support.rawhttp import basic
from trial_tests.support.served import one_server
from zatotx.testing import ServiceKit, load

USER, PASSWORD = 'same.user', 'a pass word'
CID = 'a-cid-for-both'

SERVICES = '''
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from twisted.internet.defer import Deferred, succeed

from zatotx import BadRequest, Conflict, Forbidden, Int, ListOfDicts, Service, TooManyRequests, Unauthorized


class Echo(Service):
    name = 'same.echo'

    async def handle(self):
        self.response.payload = self.request.payload


class EchoInThread(Service):
    name = 'same.echo.thread'

    def handle(self):
        self.response.payload = self.request.payload


class Raw(Service):
    name = 'same.raw'

    async def handle(self):
        self.response.payload = self.request.raw_request[::-1]
        self.response.content_type = 'application/x-reversed'


class Declared(Service):
    name = 'same.declared'
    input = Int('id'), '-note', ListOfDicts('-rows', 'a', Int('-b'))
    output = 'id', '-note', '-rows'

    def handle(self):
        request = self.request.input
        self.response.payload = {'id': request.id, 'note': request.note, 'rows': request.rows, 'more': 1}


class Classic(Service):
    name = 'same.classic'

    class SimpleIO:
        input_required = ('account_id',)
        output_required = ('account_id', 'is_open')
        response_elem = 'account'

    def handle(self):
        self.response.payload.account_id = self.request.input.account_id
        self.response.payload.is_open = 'true'


@dataclass
class Order:
    name: str
    due: date
    price: Decimal = Decimal('1.50')


class Typed(Service):
    name = 'same.typed'
    input = Order
    output = Order

    async def handle(self):
        self.response.payload = self.request.input


class ByVerb(Service):
    name = 'same.verbs'

    async def handle_GET(self):
        self.response.payload = {'got': dict(self.request.http.GET), 'params': dict(self.request.http.params)}

    def handle_PUT(self):
        self.response.status_code = 202
        self.response.headers['X-Put'] = 'žluť'
        self.response.payload = {'put': self.request.payload, 'type': self.request.headers['content-type']}


class Facts(Service):
    name = 'same.facts'

    def handle(self):
        http = self.request.http
        self.response.payload = {
            'cid': self.cid, 'name': self.name, 'channel': [str(self.channel), self.channel.name],
            'who': [self.principal.name, self.principal.username, self.principal.kind], 'format': self.data_format,
            'transport': self.transport, 'http': [http.method, http.path, dict(http.GET), dict(http.POST)],
            'input': dict(self.request.input), 'params': dict(self.request.channel_params),
            'in_time': 0 < self.deadline.remaining <= 60,
        }


class Faults(Service):
    name = 'same.faults'

    async def handle(self):
        what = self.request.payload
        if what == 'later':
            raise TooManyRequests(self.cid, 'Not now', 7)
        if what == 'who':
            raise Unauthorized(self.cid, 'Who are you?', 'Basic realm="x"')
        if what == 'value':
            raise ValueError('inside')
        if what == 'cannot be written':
            self.response.payload = {'x': object()}
            return
        if what == 'header':
            self.response.headers['X-Ž'] = '1'
            return
        if what == 'exit':
            raise SystemExit(3)
        raise {'bad': BadRequest, 'conflict': Conflict, 'no': Forbidden}[what](self.cid, f'It is {what}')


class FaultsInThread(Service):
    name = 'same.faults.thread'

    def handle(self):
        self.invoke(Faults, self.request.payload)


class Nest(Service):
    """Calls itself down to the ground, from thread to reactor and back; then says what it saw on the way."""
    name = 'same.nest'

    def handle(self):
        left = self.request.payload
        if not left:
            self.response.payload = [self.cid]
            return
        below = self.invoke('same.nest.async', left - 1)
        self.response.payload = [*below, 'thread', str(self.channel), self.principal.name]


class NestAsync(Service):
    name = 'same.nest.async'

    async def handle(self):
        left = self.request.payload
        if not left:
            self.response.payload = [self.cid]
            return
        below = await self.invoke('same.nest', left - 1)
        self.response.payload = [*below, 'reactor', str(self.channel), self.principal.name]


class Slow(Service):
    """Waits for what never comes, no longer than it is told."""
    name = 'same.slow'

    async def handle(self):
        await Deferred()


class Limits(Service):
    name = 'same.limits'

    def handle(self):
        late = self.invoke('same.slow', '', timeout=0.05, raise_timeout=False)
        self.response.payload = [late]


class GivesUp(Service):
    name = 'same.gives-up'

    async def handle(self):
        await self.invoke(Slow, '', timeout=0.05)


class NotThere(Service):
    name = 'same.not-there'

    async def handle(self):
        await self.invoke('same.no-such-service')


class Hooked(Service):
    name = 'same.hooked'

    def accept(self):
        return self.request.payload != 'unwanted'

    def validate_input(self):
        if self.request.payload == 'invalid':
            raise BadRequest(self.cid, 'It is not valid')

    async def before_handle(self):
        self.environ['order'] = ['before']

    def handle(self):
        self.environ['order'].append('handle')
        self.response.payload = self.environ['order']

    def after_handle(self):
        self.environ['order'].append('after')

    def finalize_handle(self):
        raise KeyError('passed over')


class Streams(Service):
    name = 'same.streams'

    async def handle(self):
        self.response.stream(self.pieces() if self.request.payload else (b'%d' % n for n in range(9)), 'text/plain')

    async def pieces(self):
        for piece in ('á', b'b', 'c'):
            yield await succeed(piece)


class Breaks(Service):
    name = 'same.breaks'
    output = 'needed'

    async def handle(self):
        self.response.payload = {'other': 1}


class Waits(Service):
    """asyncio's futures are nothing that a service may await."""
    name = 'same.waits'

    async def handle(self):
        class Odd:
            def __await__(self):
                yield 5
        await Odd()
'''


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request, as both are asked it."""

    service: str
    payload: Any = None
    body: bytes | None = None
    method: str = 'POST'
    rest: str = ''  # of the path, below the channel's
    query: Mapping[str, Any] = {}
    headers: Mapping[str, str] = {}
    secure: bool = False
    data_format: str = 'json'


FAULTS = ('later', 'who', 'value', 'bad', 'conflict', 'no', 'cannot be written', 'header', 'exit')
VALUES: tuple[Any, ...] = ({'a': [1, None, 'ž']}, [], 42, 1.5, True, 'text')
REQUESTS = (
    *(Asked(service=service, payload=value) for service in ('same.echo', 'same.echo.thread') for value in VALUES),
    Asked(service='same.echo', body=b'{"a": 1, "a": 2}'), Asked(service='same.echo', body=b'{'),
    Asked(service='same.echo', body=b'\xff'), Asked(service='same.echo', body=b''),
    Asked(service='same.echo', method='GET'), Asked(service='same.echo', body=b'[' * 5000),
    Asked(service='same.raw', body=b'abc\x00\xff', data_format=''),
    Asked(service='same.declared', payload={'id': '7', 'rows': [{'a': 1}, {'a': 2, 'b': '3'}]}),
    Asked(service='same.declared', payload={'id': 'x', 'rows': [{'a': 1, 'b': []}, 5]}),
    Asked(service='same.declared', payload={}), Asked(service='same.declared', payload=[]),
    Asked(service='same.declared', method='GET', query={'id': '5', 'note': ['a', 'b']}),
    Asked(service='same.declared', payload={'id': 1}, query={'id': '2'}),
    Asked(service='same.classic', payload={'account_id': '5'}),
    Asked(service='same.classic', payload={'account_id': None}),
    Asked(service='same.typed', payload={'name': 'n', 'due': '2026-01-02'}),
    Asked(service='same.typed', payload={'name': 5, 'due': 'x', 'price': []}),
    Asked(service='same.verbs', method='GET', rest='/seg ž', query={'a': ['1', '2'], 'b': 'é&='}),
    Asked(service='same.verbs', method='PUT', payload=1, headers={'Content-Type': 'application/json'}),
    Asked(service='same.verbs', method='DELETE'), Asked(service='same.verbs', method='POST', payload=1),
    Asked(service='same.facts', payload={'a': 1}, query={'q': 'x'}, secure=True),
    Asked(service='same.facts', body=b'a=1&b=2', headers={'Content-Type': 'application/x-www-form-urlencoded'}),
    Asked(service='same.facts', body=b'a=1&b=2&a=3', data_format='form'),
    *(Asked(service=service, payload=what) for service in ('same.faults', 'same.faults.thread') for what in FAULTS),
    Asked(service='same.nest', payload=5, secure=True), Asked(service='same.nest', payload=40),
    Asked(service='same.limits'), Asked(service='same.gives-up'), Asked(service='same.not-there'),
    *(Asked(service='same.hooked', payload=value) for value in ('fine', 'unwanted', 'invalid')),
    Asked(service='same.streams', payload=0), Asked(service='same.streams', payload=1),
    Asked(service='same.breaks'), Asked(service='same.waits'),
)  # fmt: skip


def path_of(asked: Asked) -> str:
    return f'/{asked.service}/{asked.data_format or "raw"}/{"secure" if asked.secure else "open"}'


def channels() -> str:
    """A channel for every combination that is asked for."""
    lines = ['security:', f'  - {{name: {USER}, type: basic_auth, username: {USER}, realm: S, password: {PASSWORD}}}',
             'channel_rest:']
    for path, asked in {path_of(asked): asked for asked in REQUESTS}.items():
        common = f'service: {asked.service}, data_format: "{asked.data_format}", ' \
                 f'security: {USER if asked.secure else "null"}'
        lines.append(f'  - {{name: "{path}", url_path: "{path}", {common}}}')
        lines.append(f'  - {{name: "{path}/deep", url_path: "{path}/{{seg}}", {common}}}')
    return '\n'.join(lines) + '\n'


def extend(broker: Broker) -> None:
    broker.serve('same.py', SERVICES)
    broker.configure(channels())


class SameTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = one_server().extend('same', extend)
        file = Path(self.mktemp()).with_suffix('.py')
        file.write_text(SERVICES, 'utf-8')
        self.kit = ServiceKit(load(file.rename(file.with_name('same.py'))))
        self.addCleanup(self.kit.close)
        self.kit.invokes('same.no-such-service').is_missing()

    def served(self, asked: Asked) -> dict[str, Any]:
        """What a real server answers."""
        body = b''
        if asked.body is not None or asked.payload is not None:
            body = asked.body if asked.body is not None else json.dumps(asked.payload).encode()
        query = f'?{urlencode(asked.query, doseq=True)}' if asked.query else ''
        sent = {'X-Zato-CID': CID, **asked.headers, **(basic(USER, PASSWORD) if asked.secure else {})}
        answer = self.broker.ask(asked.method, path_of(asked) + quote(asked.rest) + query, fields=sent, body=body)
        fields = {name: value.encode('latin-1').decode('utf-8') for name, value in answer.fields}
        return seen(answer.status, answer.body, fields)

    def kept(self, asked: Asked) -> dict[str, Any]:
        """What the kit answers."""
        given = asked.body if asked.body is not None else asked.payload
        params = {'seg': asked.rest[1:]} if asked.rest else {}
        request: Any = {
            'method': asked.method, 'path': path_of(asked) + asked.rest, 'params': params, 'query': asked.query,
            'headers': asked.headers, 'data_format': asked.data_format, 'cid': CID,
            'channel_name': path_of(asked) + ('/deep' if asked.rest else ''),
            **({'principal': USER} if asked.secure else {}),
        }  # fmt: skip
        payload = () if given is None else (given,)
        answer = self.kit.call(asked.service, *payload, through_channel=True, **request)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return seen(answer.status, answer.body, {**headers, 'content-type': answer.content_type})

    def test_both_answer_alike(self) -> None:
        """Status, body and the fields that a service, a codec or a fault sets are the same to the byte: services on the
        reactor and in threads, every form of input and output, faults, hooks, nested calls, deadlines, streams."""
        for asked in REQUESTS:
            self.assertEqual(self.kept(asked), self.served(asked), asked)


def seen(status: int, body: bytes, fields: Mapping[str, str]) -> dict[str, Any]:
    """What is compared: the framing of HTTP is the channel's own."""
    wanted = ('content-type', 'x-put', 'retry-after', 'allow', 'www-authenticate')
    return {'status': status, 'body': body, **{name: fields[name] for name in wanted if name in fields}}
