"""Properties of XML: values round-trip, and accepted documents are parsed as another parser parses them."""

from __future__ import annotations

import datetime as dt
import re
import xml.etree.ElementTree as Other
from decimal import Decimal as Number
from enum import Enum
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.properties import holds
from zatotx import AsIs, Bool, Date, DateTime, Decimal, Dict, Float, Int, List, ListOfDicts, Nested, Text
from zatotx.model.message import ChannelSpec, Message
from zatotx.service.io.declaration_reader import read_io_declaration
from zatotx.service.io.input_sources import InputSources
from zatotx.service.io.xml_codec import build_response_element, read_element_values
from zatotx.wire.xml.parser import Malformed, parse_document
from zatotx.wire.xml.writer import is_xml_name, write_document

LEGAL = st.characters(exclude_categories=['Cs', 'Cc'], exclude_characters='\ufffe\uffff', include_characters='\t\n\r')
TEXT = st.text(LEGAL, max_size=8)
HOLDABLE = re.compile('[\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*')  # XML 1.0 §2.2
ANY_TEXT = st.text(max_size=8)
INTS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=3)
MOMENTS = st.datetimes(timezones=st.just(dt.UTC) | st.none())
NAMES = st.from_regex(r'[A-Za-z_][A-Za-z0-9_.-]{0,5}', fullmatch=True)

INBOUND = Message('cid', ChannelSpec(name='t', kind='http-soap', service='t', data_format='xml'), 't', {}, b'', 0.0)


class Colour(Enum):
    RED = 'red'
    BLUE = ' blue & '


class Line(msgspec.Struct):
    sku: str
    qty: int | None


class Spot(NamedTuple):
    x: int
    name: str


class Card(msgspec.Struct, tag='card'):
    number: str


class Cash(msgspec.Struct, tag='cash'):
    amount: Number


class Order(msgspec.Struct, kw_only=True, rename='camel'):
    text: str
    number: int
    real: float
    sure: bool
    price: Number
    moment: dt.datetime
    day: dt.date
    time_of: dt.time
    id: UUID
    data: bytes
    colour: Colour
    level: Literal[1, 2]
    spot: Spot
    lines: list[Line]
    grid: list[list[str]]
    maybe: list[int | None]
    tags: set[str]
    codes: dict[str, int]
    by_name: dict[str, list[Line]]
    paid: Card | Cash
    below: list[Order] = []
    nick: str | None = None
    age: int | None = None
    more: list[str] | None = None
    line: Line | None = None


LINES = st.builds(Line, TEXT, st.none() | INTS)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    'text': TEXT, 'number': INTS, 'real': FLOATS, 'sure': st.booleans(), 'price': NUMBERS, 'moment': MOMENTS,
    'day': st.dates(), 'time_of': st.times(), 'id': st.uuids(), 'data': st.binary(max_size=9),
    'colour': st.sampled_from(Colour), 'level': st.sampled_from([1, 2]), 'spot': st.builds(Spot, INTS, TEXT),
    'lines': st.lists(LINES, max_size=3), 'grid': st.lists(st.lists(TEXT, max_size=3), max_size=3),
    'maybe': st.lists(st.none() | INTS, max_size=3), 'tags': st.sets(TEXT, max_size=3),
    'codes': st.dictionaries(TEXT, INTS, max_size=3),
    'by_name': st.dictionaries(TEXT, st.lists(LINES, max_size=2), max_size=2),
    'paid': st.builds(Card, TEXT) | st.builds(Cash, NUMBERS), 'nick': st.none() | TEXT, 'age': st.none() | INTS,
    'more': st.none() | st.lists(TEXT, max_size=2), 'line': st.none() | LINES,
}  # fmt: skip
ORDERS = st.recursive(
    st.builds(Order, **FIELDS),
    lambda inner: st.builds(Order, **FIELDS, below=st.lists(inner, max_size=2)),
    max_leaves=4,
)

PIECES = ('<a>', '</a>', '<b/>', '<b c="d">', '</b>', ' ', '\n', 'text', '&amp;', '&#65;', '&x;', '<!-- c -->',
          '<?p i?>', '<![CDATA[', ']]>', '<![CDATA[x<y]]>', '<!DOCTYPE a>', '<?xml version="1.0"?>', ' xmlns:n="u"',
          '<n:a/>', '>', '"', '\0', 'é', '<!--', '-->', '<c xmlns="v">', '</c>')  # fmt: skip


def elements_io() -> Any:
    """Returns input and output of classic SimpleIO elements."""
    declared = (
        Text('text'), Int('int'), Float('real'), Bool('bool'), Decimal('price'), Date('day'), DateTime('moment'),
        List('list'), Dict('free'), Dict('keyed', Int('k'), Text('t')), Nested('deep', Int('n'), List('l')),
        ListOfDicts('rows', Int('a'), Text('b')), AsIs('as_it_is'),
    )  # fmt: skip
    return read_io_declaration(type('Declared', (), {'input': declared, 'output': declared}))


ELEMENTS = st.fixed_dictionaries({
    'text': TEXT, 'int': INTS, 'real': FLOATS, 'bool': st.booleans(), 'price': NUMBERS, 'day': st.dates(),
    'moment': MOMENTS, 'list': st.lists(TEXT, max_size=3), 'free': st.dictionaries(TEXT, TEXT, max_size=3),
    'keyed': st.fixed_dictionaries({'k': INTS, 't': TEXT}),
    'deep': st.fixed_dictionaries({'n': INTS, 'l': st.lists(TEXT, max_size=2)}),
    'rows': st.lists(st.fixed_dictionaries({'a': INTS, 'b': TEXT}), max_size=3), 'as_it_is': TEXT,
})  # fmt: skip


class RoundTripTests(SynchronousTestCase):
    @holds(order=ORDERS)
    def test_models(self, order: Order) -> None:
        """A model with all kinds of fields round-trips."""
        io = read_io_declaration(type('Declared', (), {'input': Order, 'output': Order}))
        written = build_response_element(io.output.write(order), io, INBOUND).data  # type: ignore[union-attr]
        sources = InputSources(read_element_values(parse_document(written), io), {}, None)
        sources.body_is_text = True
        self.assertEqual(io.input.read(sources), order)  # type: ignore[union-attr]

    @holds(lists=st.lists(LINES, max_size=3))
    def test_lists_of_models(self, lists: list[Line]) -> None:
        """Lists of models round-trip, also at the root."""
        io = read_io_declaration(type('Declared', (), {'input': list[Line], 'output': list[Line]}))
        read = read_element_values(parse_document(build_response_element(lists, io, INBOUND).data), io)
        self.assertEqual(msgspec.convert(read, list[Line], strict=False), lists)

    @holds(record=ELEMENTS)
    def test_elements(self, record: dict[str, Any]) -> None:
        """SimpleIO elements round-trip."""
        io = elements_io()
        written = build_response_element(io.output.write(record), io, INBOUND).data
        sources = InputSources(read_element_values(parse_document(written), io), {}, None)
        sources.body_is_text = True
        self.assertEqual(io.input.read(sources), record)

    @holds(text=TEXT, name=NAMES)
    def test_texts(self, text: str, name: str) -> None:
        """Texts round-trip through our parser and another one."""
        data = write_document(name, {name: text}).data
        self.assertEqual(parse_document(data).getchildren()[0].text or '', text)
        self.assertEqual(Other.fromstring(data)[0].text or '', text)

    @holds(text=ANY_TEXT, name=ANY_TEXT)
    def test_what_goes_out_can_be_read(self, text: str, name: str) -> None:
        """Any text or key gives well-formed XML, or an error."""
        try:
            data = write_document('a', {name: text}).data
        except ValueError:
            self.assertFalse(is_xml_name(name) and HOLDABLE.fullmatch(text))
        else:
            self.assertEqual(parse_document(data).getchildren()[0].text or '', text)
            if name.isascii():  # the other one knows names of the fourth edition only
                self.assertEqual(Other.fromstring(data)[0].text or '', text)


class DocumentTests(SynchronousTestCase):
    def check(self, data: bytes) -> None:
        """Checks that a document gives the same tree as another parser, or raises Malformed with one line."""
        try:
            root = parse_document(data)
        except Malformed as error:
            self.assertEqual(len(str(error).splitlines()), 1)
            return
        self.assertEqual(seen(root), seen(Other.fromstring(data)), data)

    @holds(data=st.binary(max_size=60))
    def test_any_bytes(self, data: bytes) -> None:
        """Random bytes are rejected with a sentence."""
        self.check(data)
        self.check(b'<a>' + data + b'</a>')

    @holds(examples=400, parts=st.lists(st.sampled_from(PIECES), max_size=12))
    def test_pieces_of_xml(self, parts: list[str]) -> None:
        """Random sequences of XML tokens, alone and inside an element, never give partial values."""
        self.check(''.join(parts).encode())
        self.check(f'<a>{"".join(parts)}</a>'.encode())

    @holds(text=st.text(max_size=20), codec=st.sampled_from(['utf-8', 'utf-16', 'latin-1', 'ascii']))
    def test_encodings(self, text: str, codec: str) -> None:
        """Any encoding gives the same result as another parser."""
        said = {'latin-1': 'ISO-8859-1', 'ascii': 'US-ASCII'}.get(codec, codec.upper())
        self.check(f'<?xml version="1.0" encoding="{said}"?><a>{text}</a>'.encode(codec, 'replace'))


def seen(root: Any) -> Any:
    """Converts a tree of lxml or the standard library to plain values."""
    children = root.iterchildren() if hasattr(root, 'iterchildren') else root
    return root.tag, dict(root.attrib), root.text or '', [(seen(child), child.tail or '') for child in children]
