"""Services with every sort of field, uploads, streams and limits, and channels to them: what generated requests compare
the OpenAPI document with."""

from __future__ import annotations

import json
from pathlib import Path

from trial_tests.support.broker import Broker, create, shared

EXAMPLES = Path(__file__).resolve().parents[2] / 'examples'
USER, PASSWORD = 'every.user', 'sesame'

SERVICES = '''
import datetime as dt
import decimal
import enum
import uuid
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from zatotx import CSV, UTC, UUID, AsIs, Bool, Conflict, Date, DateTime, Decimal, Dict, DictList, Event, Float, Int
from zatotx import List, Secret, Service, Text


class Colour(enum.Enum):
    RED = 'red'
    BLUE = 'blue'


class Item(msgspec.Struct):
    sku: Annotated[str, Meta(pattern='^[A-Z]{2}[0-9]{3,}$')]
    qty: Annotated[int, Meta(gt=0, le=1000)] = 1
    parts: list['Item'] = []


class Card(msgspec.Struct, tag='card'):
    number: Annotated[str, Meta(min_length=12, max_length=19)]


class Transfer(msgspec.Struct, tag='transfer'):
    iban: str


class Point(msgspec.Struct, array_like=True):
    x: int
    y: int


class Every(msgspec.Struct):
    n: int
    x: float
    text: str
    flag: bool
    maybe: int | None
    items: Annotated[list[Item], Meta(min_length=1)]
    colour: Colour
    speed: Literal['slow', 'fast']
    step: Literal[1, 2]
    due: dt.date
    made: dt.datetime
    at: dt.time
    lasts: dt.timedelta
    ref: uuid.UUID
    price: decimal.Decimal
    weight: Annotated[float, Meta(ge=0.5, lt=2)]
    pay: Card | Transfer
    point: Point
    pair: tuple[int, str]
    codes: set[int] = set()
    labels: dict[str, int] = {}
    ranks: dict[int, str] = {}
    token: bytes = b''
    either: int | str = 0
    anything: Any = None


class Search(msgspec.Struct):
    text: str
    limit: Annotated[int, Meta(ge=10, multiple_of=5)] = 10
    ratio: float = 0.5
    tags: list[str] = []
    since: dt.date | None = None
    exact: bool = False


class Model(Service):
    name = 'every.model'
    input = Every
    output = Every

    async def handle(self):
        self.response.payload = self.request.input


class Find(Service):
    name = 'every.find'
    input = Search
    output = Search

    async def handle(self):
        self.response.payload = self.request.input


class Many(Service):
    name = 'every.many'
    input = list[Item]
    output = list[Item]

    async def handle(self):
        self.response.payload = self.request.input


@dataclass
class Address:
    street: str
    numbers: list[int] = field(default_factory=list)
    zip: str | None = None


class Keep(Service):
    name = 'every.dataclass'
    input = Address
    output = Address

    async def handle(self):
        self.response.payload = self.request.input


FIELDS = ('plain', 'customer_id', 'is_new', AsIs('raw'), Text('text'), Secret('pin'), UTC('seen'), Int('n'), Float('x'),
          Bool('flag'), Decimal('price'), UUID('ref'), Date('day'), DateTime('at'), CSV('codes'), List('listed'),
          Dict('where', 'city', '-zip', Int('-floor')), DictList('lines', 'sku', Int('qty')))


class Required(Service):
    name = 'every.required'

    class SimpleIO:
        input_required = ('plain', Text('text'), Int('n'), Bool('flag'), Decimal('price'))
        output_required = ('plain', Int('n'), Decimal('price'))

    async def handle(self):
        self.response.payload = self.request.input


class Optional(Service):
    """ What comes is what goes, what does not is absent. """
    name = 'every.optional'

    class SimpleIO:
        input_optional = FIELDS
        output_optional = FIELDS

    async def handle(self):
        self.response.payload = self.request.input


class Unset(Service):
    name = 'every.unset'

    class SimpleIO:
        output_optional = FIELDS

    async def handle(self):
        self.response.payload.plain = 'set'


class Short(Service):
    name = 'every.short'
    input = 'name', '-lang', Int('-qty'), Bool('-flag'), Date('-day'), List('-tag'), CSV('-codes'), 'is_new'
    output = 'name', Int('-qty'), Date('-day')

    async def handle(self):
        self.response.payload = {'name': self.request.input.name, 'qty': self.request.input.qty}


class Upload(Service):
    name = 'every.upload'
    input = Int('year'), '-note'
    output = Int('size')

    async def handle(self):
        size = self.request.files['orders'].size
        if 'logo' in self.request.files:
            size += self.request.files['logo'].size
        self.response.payload = {'size': size}


class Store(Service):
    name = 'every.file'
    input = Int('-year')
    output = Int('size')

    async def handle(self):
        self.response.payload = {'size': self.request.files['body'].size}


class Lines(Service):
    name = 'every.stream'
    input = Int('rows')

    async def handle(self):
        self.response.stream(self.lines(min(self.request.input.rows, 10)), 'text/csv')

    async def lines(self, rows):
        for number in range(rows):
            yield f'{number}\\n'


class Watch(Service):
    name = 'every.events'

    async def handle(self):
        self.response.events(self.events())

    async def events(self):
        yield Event({'price': 1})


class Page(Service):
    name = 'every.page'

    async def handle(self):
        self.response.content_type = 'text/html; charset=utf-8'
        self.response.payload = '<p>Hello</p>'


class Make(Service):
    name = 'every.make'
    input = 'name'
    output = 'name'

    async def handle(self):
        if self.request.input.name == 'taken':
            raise Conflict(self.cid, 'The name is taken')
        self.response.status_code = HTTPStatus.CREATED
        self.response.payload = {'name': self.request.input.name}


class Verbs(Service):
    name = 'every.verbs'
    input = 'item_id', '-lang'
    output = 'item_id'

    async def handle_GET(self):
        self.response.payload = {'item_id': self.request.input.item_id}

    async def handle_DELETE(self):
        self.response.payload = {'item_id': self.request.input.item_id}


class Free(Service):
    name = 'every.free'

    async def handle(self):
        self.response.payload = {'size': len(self.request.raw_request)}
'''

_CHANNELS = """
every.model         POST   /every/model            json
every.find          GET    /every/find             json
every.find-form     POST   /every/find             form  every.find
every.many          POST   /every/many             json
every.dataclass     PATCH  /every/address/{zip}    json
every.required      POST   /every/required         json
every.optional      POST   /every/optional         json
every.unset         GET    /every/unset            json
every.short         GET    /every/short/{name}     json
every.any           -      /every/any/{name}       json  every.make
every.short-form    POST   /every/short            form  every.short
every.upload        POST   /every/upload           json
every.upload-form   POST   /every/upload/{year}    form  every.upload
every.file          PUT    /every/file             file
every.stream        GET    /every/stream           json
every.events        GET    /every/events           json
every.page          GET    /every/page             -
every.make          POST   /every/make             json
every.verbs         -      /every/verbs/{item_id}  json
every.verbs-patch   PATCH  /every/verbs/{name}     json  every.make
every.free          POST   /every/free             -
every.secured       GET    /every/secured          json  every.unset
every.limited       GET    /every/limited          json  every.unset
every.xml-make      PUT    /every/xml/make         xml   every.make
every.xml-unset     GET    /every/xml/unset        xml   every.unset
"""


def document() -> str:
    """The enmasse file of all of it."""
    rows = [_row(*line.split()) for line in _CHANNELS.strip().splitlines()]
    user = {'name': USER, 'type': 'basic_auth', 'username': USER, 'realm': 'Every', 'password': PASSWORD}
    limit = {'name': 'every.limit', 'limit': '5/m'}
    return json.dumps({'security': [user], 'rate_limit': [limit], 'channel_rest': rows})  # JSON is YAML


def _row(name: str, method: str, path: str, data_format: str, service: str = '') -> dict[str, object]:
    return {
        'name': name, 'url_path': path, 'service': service or name, 'method': None if method == '-' else method,
        'data_format': '' if data_format == '-' else data_format,
        'security': USER if name == 'every.secured' else None, 'etag': name == 'every.unset',
        'rate_limits': ['every.limit'] if name == 'every.limited' else [],
    }  # fmt: skip


def serve(broker: Broker) -> Broker:
    """Start it and have it serve all of this and the demo; the document is open to everybody."""
    broker.set('http', openapi='open')
    broker.start()
    broker.serve('every.py', SERVICES)
    broker.configure(document())
    said = broker.deploy(EXAMPLES / 'demo.py', EXAMPLES / 'classic.py')
    if said.code:
        raise AssertionError(said.text)
    broker.configure((EXAMPLES / 'demo.yaml').read_text('utf-8').replace('${DEMO_PASSWORD}', PASSWORD))
    return broker


def every_field() -> Broker:
    """The environment of the tests with generated requests."""
    return shared('every-field', lambda: serve(create()))
