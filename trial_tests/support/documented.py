"""Services of every way of declaring input and output, and channels to them: what an OpenAPI document is tested on."""

from __future__ import annotations

import json

from trial_tests.support.broker import Broker, create, shared

USER, PASSWORD = 'shop.user', 'a pass: word é'

SERVICES = '''
import datetime as dt
import decimal
import enum
import uuid
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from zatotx import CSV, UTC, UUID, AsIs, Bool, Date, DateTime, Decimal, Dict, DictList, Float, Int, List, Secret
from zatotx import Service, Text


class Colour(enum.Enum):
    RED = 'red'
    BLUE = 'blue'


class Item(msgspec.Struct):
    """ One line of an order. """
    sku: Annotated[str, Meta(pattern='^[A-Z]{2}[0-9]{3,}$', description='Stock number')]
    qty: Annotated[int, Meta(gt=0, le=1000)] = 1
    price: decimal.Decimal | None = None
    parts: list['Item'] = []


class Card(msgspec.Struct, tag='card'):
    number: Annotated[str, Meta(min_length=12, max_length=19)]


class Transfer(msgspec.Struct, tag='transfer'):
    iban: str


class Order(msgspec.Struct, forbid_unknown_fields=True):
    id: int
    items: Annotated[list[Item], Meta(min_length=1)]
    colour: Colour
    speed: Literal['slow', 'fast']
    due: dt.date
    made: dt.datetime
    ref: uuid.UUID
    weight: Annotated[float, Meta(ge=0.5, lt=2)]
    pay: Card | Transfer
    labels: dict[str, int] = {}
    token: bytes = b''
    note: str | None = None


@dataclass
class Address:
    street: str
    numbers: list[int] = field(default_factory=list)


@dataclass
class Customer:
    name: str
    address: Address
    age: int | None = None


class Search(msgspec.Struct):
    text: str
    limit: Annotated[int, Meta(ge=10, multiple_of=5)] = 10
    tags: list[str] = []
    since: dt.date | None = None
    exact: bool = False


class PlaceOrder(Service):
    """ Places an order.

    Every field of it is checked; `items` must hold something.
    """
    name = 'shop.order.place'
    input = Order
    output = Order

    async def handle(self):
        self.response.payload = self.request.input


class Save(Service):
    """ Saves a customer. """
    name = 'shop.customer.save'
    input = Customer
    output = list[Customer]

    async def handle(self):
        self.response.payload = [self.request.input]


class Find(Service):
    name = 'shop.find'
    input = Search
    output = 'text', Int('limit'), List('tags')

    async def handle(self):
        asked = self.request.input
        self.response.payload = {'text': asked.text, 'limit': asked.limit, 'tags': asked.tags}


class Many(Service):
    name = 'shop.many'
    input = list[Item]
    output = 'count'

    async def handle(self):
        self.response.payload = {'count': len(self.request.input)}


class Classic(Service):
    """ The classic way. """
    name = 'shop.classic'

    class SimpleIO:
        input_required = ('customer_id', Decimal('price'), Date('day'), Dict('where', 'city', '-zip'),
                          DictList('lines', 'sku', Int('qty')), UUID('ref'), UTC('seen'))
        input_optional = (CSV('codes'), Float('share'), Bool('urgent'),
                          DateTime('at', date_time_format='DD.MM.YYYY HH:mm'), AsIs('extra'), Secret('pin'),
                          Text('said'), 'is_new')
        output_required = ('customer_id', Date('day'))
        output_optional = (Int('left'), 'note')
        response_elem = 'receipt'

    def handle(self):
        self.response.payload.customer_id = self.request.input.customer_id
        self.response.payload.day = self.request.input.day


class Listing(Service):
    name = 'shop.listing'

    class SimpleIO:
        input_optional = ('page_size', 'filter')
        output_required = ('name',)
        output_repeated = True

    async def handle(self):
        self.response.payload[:] = [{'name': 'a'}, {'name': 'b'}]


class Short(Service):
    name = 'shop.short'
    input = 'name', Int('-qty')
    output = 'name', Int('-qty')

    async def handle(self):
        self.response.payload = {'name': self.request.input.name}


class Item_(Service):
    name = 'shop.item'
    input = 'item_id', '-lang'

    async def handle_GET(self):
        self.response.payload = {'id': self.request.input.item_id}

    async def handle_DELETE(self):
        self.response.payload = {}


class Tree(Service):
    name = 'shop.tree'
    input = 'rest'

    async def handle(self):
        self.response.payload = {'rest': self.request.input.rest}


class Free(Service):
    name = 'shop.free'

    async def handle(self):
        self.response.payload = {'got': str(self.request.raw_request)}


class Parity(msgspec.Struct):
    number: int
    half: int

    def __post_init__(self):
        if self.half * 2 != self.number:
            raise ValueError('half must be half of number')


class Checked(Service):
    name = 'shop.checked'
    input = Parity

    async def handle(self):
        self.response.payload = {}
'''

OTHER = '''
import msgspec

from zatotx import Service


class Item(msgspec.Struct):
    """ Quite another thing. """
    title: str


class Rename(Service):
    name = 'library.rename'
    input = Item
    output = Item

    async def handle(self):
        self.response.payload = self.request.input
'''

_CHANNELS = """
shop.order          POST     /orders                json  shop.order.place
shop.order.by-id    PUT      /orders/{id}           json  shop.order.place
shop.customer       POST     /customers             json  shop.customer.save
shop.find           GET      /find                  json  shop.find
shop.find.form      POST     /find                  form  shop.find
shop.many           POST     /many                  json  shop.many
shop.classic        POST     /classic               json  shop.classic
shop.listing        GET      /listing               json  shop.listing
shop.short          -        /short                 json  shop.short
shop.short.raw      POST     /short/raw             -     shop.short
shop.item           -        /items/{item_id}.json  json  shop.item
shop.tree           -        /tree/{rest:path}      json  shop.tree
shop.free           POST     /frei/grün/{x}         -     shop.free
shop.free.json      POST     /free                  json  shop.free
shop.checked        POST     /checked               json  shop.checked
library             PATCH    /items/{number}.json   json  library.rename
shop.unmerged       PUT      /unmerged/{name}       json  shop.short
xml.order           POST     /xml/orders            xml   shop.order.place
xml.customer        POST     /xml/customers         xml   shop.customer.save
xml.many            POST     /xml/many              xml   shop.many
xml.classic         POST     /xml/classic           xml   shop.classic
xml.listing         GET      /xml/listing           xml   shop.listing
xml.short           PUT      /xml/short/{name}      xml   shop.short
shop.off            GET      /off                   -     shop.free
shop.odd            PROPFIND /odd                   -     shop.free
shop.verbless       POST     /verbless              json  shop.item
"""
SECURED = ('shop.order', 'shop.order.by-id')


def document() -> str:
    """The enmasse file of all of it."""
    rows = [_row(*line.split()) for line in _CHANNELS.strip().splitlines()]
    user = {'name': USER, 'type': 'basic_auth', 'username': USER, 'realm': 'Shop', 'password': PASSWORD}
    return json.dumps({'security': [user], 'channel_rest': rows})  # JSON is YAML


def _row(name: str, method: str, path: str, data_format: str, service: str) -> dict[str, object]:
    return {
        'name': name, 'url_path': path, 'service': service, 'method': None if method == '-' else method,
        'data_format': '' if data_format == '-' else data_format, 'security': USER if name in SECURED else None,
        'is_active': name != 'shop.off', 'merge_url_params_req': name != 'shop.unmerged',
    }  # fmt: skip


def serve(broker: Broker) -> Broker:
    """Start it and have it serve all of this; the document is open to everybody, this machine is a trusted proxy."""
    broker.set('http', openapi='open', trusted_proxies=['127.0.0.1'])
    broker.start()
    broker.serve('shop.py', SERVICES)
    broker.serve('library.py', OTHER)
    broker.configure(document())
    return broker


def documented() -> Broker:
    """The environment that the tests of OpenAPI and of its page share."""
    return shared('documented', lambda: serve(create()))
