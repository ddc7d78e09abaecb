"""Declared input from XML, in its three forms: where elements are looked up, how they are converted, how mistakes
are reported."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from decimal import Decimal as Number
from enum import Enum, IntEnum
from typing import Any, Literal, NamedTuple
from uuid import UUID

import msgspec
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

import zatotx
from trial_tests.support.invoking import Calls, outcome_of
from zatotx import Bool, Date, DateTime, Dict, Float, Int, List, ListOfDicts, Nested, Service, Text
from zatotx.model.errors import BadInput
from zatotx.service.io.declaration_reader import read_io_declaration
from zatotx.service.io.xml_codec import read_element_values
from zatotx.wire.xml.parser import XSI, is_element, parse_document

NIL = f'xmlns:xsi="{XSI}" xsi:nil="true"'


def taken(declared: type, document: str = '', /, **request: Any) -> Any:
    """Return the request.input of a service with those declarations on an XML channel."""
    seen = []

    class Asked(declared, Service):  # type: ignore[misc]  # any declaration
        async def handle(self) -> None:
            seen.append(self.request.input)

    calls = Calls(Asked)
    for quickly in (False, True):  # with elements of objectify, and with plain ones
        inbound = calls.http(**{'data_format': 'xml', 'body': document.encode(), **request})
        payload = parse_document(document.encode()) if document else None
        if quickly:
            inbound.parsed = payload
        outcome_of(calls.start(inbound, payload))
    first, second = seen
    assert first == second or ('a' in first and is_element(first.a)), (first, second)
    return second


def short(*names: Any) -> type:
    """Return a service with the short form."""
    return type('Short', (), {'input': names})


def classic(**options: Any) -> type:
    """Return a service with classic SimpleIO."""
    return type('Classic', (), {'SimpleIO': type('SimpleIO', (), options)})


def typed(model: Any) -> type:
    """Return a service with a model."""
    return type('Typed', (), {'input': model})


class Case(SynchronousTestCase):
    def errors(self, declared: type, document: str = '', /, **request: Any) -> dict[str, str]:
        """Return the mistakes by path."""
        bad: BadInput = self.assertRaises(BadInput, taken, declared, document, **request)
        return dict(bad.errors)


class PlaceTests(Case):
    """Where elements are looked up (feature map 3.5)."""

    def test_children_of_the_root(self) -> None:
        """Children of the root are read by local name, in any namespace; undeclared ones are ignored."""
        for document in ('<x><a>1</a><c/></x>', '<x xmlns="urn:x"><a>1</a></x>', '<x><n:a xmlns:n="urn:n">1</n:a></x>'):
            self.assertEqual(taken(short('a', '-b'), document), {'a': '1', 'b': ''})

    def test_under_the_request_element(self) -> None:
        """The request element is the root, or the first element of that name in it."""
        get = classic(request_elem='get', input_required='a')
        for document in ('<get><a>1</a></get>', '<x><a>0</a><y/><get><a>1</a></get></x>',
                         '<n:get xmlns:n="urn:n"><n:a>1</n:a></n:get>'):  # fmt: skip
            self.assertEqual(taken(get, document), {'a': '1'})
        self.assertEqual(self.errors(get, '<got><a>1</a></got>'), {'$': 'expected the element get, got got'})

    def test_in_the_namespace(self) -> None:
        """With a declared namespace, all elements must be in it."""
        get = classic(request_elem='get', namespace='urn:x', input_required='a', input_optional='b')
        self.assertEqual(taken(get, '<get xmlns="urn:x"><a>1</a><b xmlns="">2</b></get>'), {'a': '1', 'b': ''})
        self.assertEqual(taken(get, '<n:get xmlns:n="urn:x"><n:a>1</n:a></n:get>'), {'a': '1', 'b': ''})
        for document in ('<get><a>1</a></get>', '<get xmlns="urn:y"><a>1</a></get>'):
            self.assertIn('expected the element get in the namespace urn:x', self.errors(get, document)['$'])
        self.assertEqual(self.errors(get, '<get xmlns="urn:x"><a xmlns="urn:y">1</a></get>'), {'$.a': 'missing'})
        self.assertEqual(self.errors(classic(namespace='urn:x', input_required='a'), '<get><a>1</a></get>'),
                         {'$.a': 'missing'})  # fmt: skip

    def test_many_namespaces_are_not_remembered(self) -> None:
        """Namespaces invented by callers do not consume memory."""
        io = read_io_declaration(short('a'))
        for number in range(2_000):
            document = f'<x xmlns="urn:{number}"><a>1</a><b{number}/></x>'
            self.assertEqual(read_element_values(parse_document(document.encode()), io), {'a': '1'})
        (shape,) = io.shape_cache.values()
        self.assertLess(len(shape._tags), 20)

    def test_path_and_query_join(self) -> None:
        """Path and query are merged as with JSON: they take precedence by default, and are text."""
        both, document = short(Int('a'), 'b', '-c'), '<x><a>1</a><b>2</b></x>'
        url: dict[str, Any] = {'query': b'b=query&c=3', 'params': {'a': '7'}}
        self.assertEqual(taken(both, document, **url), {'a': 7, 'b': 'query', 'c': '3'})
        self.assertEqual(taken(both, document, params_pri='msg-over-channel-params', **url),
                         {'a': 1, 'b': '2', 'c': '3'})  # fmt: skip
        self.assertEqual(self.errors(both, '<x><b/></x>', query=b'a=x'), {'a': 'expected int, got str'})
        self.assertEqual(taken(typed(Line), '<x><qty>1</qty></x>', query=b'sku=7'), Line('7', 1))

    def test_no_body(self) -> None:
        """The URL alone may be sufficient input; missing elements are reported."""
        self.assertEqual(taken(short('a'), method='GET', query=b'a=1'), {'a': '1'})
        self.assertEqual(self.errors(short('a'), method='GET'), {'a': 'missing'})
        self.assertEqual(self.errors(typed(Line), '<x/>'), {'$.sku': 'missing', '$.qty': 'missing'})

    def test_it_is_xml_whatever_it_is_called(self) -> None:
        """The body is XML whatever its Content-Type, as `curl -d` always sends that of a form."""
        form = {b'content-type': b'application/x-www-form-urlencoded'}
        self.assertEqual(taken(short('a'), '<x><a>1</a></x>', headers=form), {'a': '1'})

    def test_all_there_is_without_a_declaration(self) -> None:
        """Without a declaration, input is objects, lists for repeated names, and texts."""
        document = f'<x><a>1</a><b><c>2</c><c/></b><d {NIL}/></x>'
        self.assertEqual(taken(Undeclared, document, query=b'e=3'),
                         {'a': '1', 'b': {'c': ['2', '']}, 'd': None, 'e': '3'})  # fmt: skip

    def test_an_element_that_another_service_hands_over(self) -> None:
        """self.invoke accepts an lxml element of any parser."""
        for document in (etree.fromstring('<x><a>1</a></x>'), parse_document(b'<x><a>1</a></x>')):
            calls = Calls(type('Asked', (short(Int('a')), Service), {'handle': answer_input}))
            value = outcome_of(calls.start(calls.inbound(kind='invoke'), document)).value
            self.assertEqual(value, {'a': 1})

    def test_text_that_another_service_hands_over(self) -> None:
        """self.invoke with data_format='xml' parses text, as in Zato."""

        class Asking(Service):
            async def handle(self) -> None:
                self.response.payload = [await self.invoke('test.asked', text, data_format='xml')
                                         for text in ('<x><a>1</a></x>', b'<x><a>2</a></x>')]

        asked = type('Asked', (short(Int('a')), Service), {'name': 'test.asked', 'handle': answer_input})
        calls = Calls(Asking, asked)
        self.assertEqual(outcome_of(calls.start(calls.inbound())).value, [{'a': 1}, {'a': 2}])

    def test_a_message_of_another_kind(self) -> None:
        """XML from an AMQP channel is read like that from HTTP."""
        calls = Calls(type('Asked', (typed(Line), Service), {'handle': answer_input}))
        inbound = calls.inbound(data_format='xml')
        value = outcome_of(calls.start(inbound, parse_document(b'<x><sku>a</sku><qty>2</qty></x>'))).value
        self.assertEqual(value.data, b'<response><sku>a</sku><qty>2</qty></response>')


async def answer_input(self: Any) -> None:
    """A handler that responds with its input."""
    self.response.payload = self.request.input


class Undeclared:
    pass


class ElementTests(Case):
    """Elements of classic SimpleIO and the short form: values are text, converted by the element."""

    def test_scalars(self) -> None:
        """Values are converted by their types, without whitespace around numbers and the like; texts are unchanged."""
        everything = short(
            'plain', 'an_id', 'is_it', Text('text'), Int('int'), Float('float'), Bool('bool'),
            zatotx.Decimal('decimal'), zatotx.UUID('uuid'), Date('date'), DateTime('moment'), zatotx.UTC('utc'),
            zatotx.CSV('csv'),
        )  # fmt: skip
        document = '''<x>
            <plain> 1 </plain> <an_id> 2 </an_id> <is_it> true </is_it> <text>
</text> <int>\t3\t</int> <float>1.5</float>
            <bool>no</bool> <decimal>1.50</decimal> <uuid>00000000-0000-0000-0000-000000000001</uuid>
            <date>2026-01-31</date> <moment> 2026-01-31T12:00:00 </moment> <utc>2026-01-31T12:00:00+00:00</utc>
            <csv>a,b</csv>
        </x>'''
        self.assertEqual(taken(everything, document), {
            'plain': ' 1 ', 'an_id': 2, 'is_it': True, 'text': '\n', 'int': 3, 'float': 1.5, 'bool': False,
            'decimal': Number('1.50'), 'uuid': UUID(int=1), 'date': dt.date(2026, 1, 31),
            'moment': dt.datetime(2026, 1, 31, 12), 'utc': '2026-01-31T12:00:00', 'csv': ['a', 'b'],
        })  # fmt: skip

    def test_values_in_pieces(self) -> None:
        """Comments, processing instructions and CDATA sections do not truncate a value."""
        declared = short('an_id', Text('text'), List('list'), Dict('dict'))
        document = ('<x><an_id>1<!-- -->2</an_id><text>a<?b?>c<![CDATA[<d>]]></text><!---->'
                    '<list><a>1<!-- -->2</a><!----></list>'
                    '<dict><item><key>k<!-- -->ey</key><value><![CDATA[v]]>w</value></item></dict></x>')  # fmt: skip
        self.assertEqual(taken(declared, document),
                         {'an_id': 12, 'text': 'ac<d>', 'list': ['12'], 'dict': {'key': 'vw'}})  # fmt: skip

    def test_lists(self) -> None:
        """A list is an element with items of any name, or the element itself repeated."""
        for document in ('<x><a><item>1</item><item>2</item></a></x>', '<x><a><b>1</b><b>2</b></a></x>',
                         '<x><a>1</a><c/><a>2</a></x>'):  # fmt: skip
            self.assertEqual(taken(short(List('a')), document), {'a': ['1', '2']})
        self.assertEqual(taken(short(List('a')), '<x><a>1</a></x>'), {'a': ['1']})
        self.assertEqual(taken(short(List('a')), '<x><a/></x>'), {'a': []})
        self.assertEqual(taken(short(List('a')), '<x><a><item/></a></x>'), {'a': ['']})
        self.assertEqual(taken(short(List('a')), '<x><a><item><b>1</b></item></a></x>'), {'a': [{'b': '1'}]})

    def test_dicts(self) -> None:
        """A dict is Zato's pairs of key and value, or children; declared keys limit and convert them."""
        free, keyed = short(Dict('a')), short(Dict('a', Int('b'), '-c'))
        pairs = '<item><key>b</key><value>1</value></item><item><value>2</value><key>x y</key></item>'
        self.assertEqual(taken(free, f'<x><a>{pairs}</a></x>'), {'a': {'b': '1', 'x y': '2'}})
        self.assertEqual(taken(free, '<x><a><b>1</b><c/></a></x>'), {'a': {'b': '1', 'c': ''}})
        self.assertEqual(taken(free, '<x><a/></x>'), {'a': {}})
        for document in (f'<x><a>{pairs}</a></x>', '<x><a><b>1</b><d>4</d></a></x>'):
            self.assertEqual(taken(keyed, document), {'a': {'b': 1, 'c': ''}})

    def test_nested(self) -> None:
        """Objects nest to any depth."""
        outer = short(Nested('a', Int('b'), Nested('c', List('d'), Int('e'))))
        document = '<x><a><b>1</b><c><d>2</d><d>3</d><e>x</e></c></a></x>'
        self.assertEqual(self.errors(outer, document), {'$.a.c.e': 'expected int, got str'})
        self.assertEqual(taken(outer, document.replace('x</e>', '4</e>')),
                         {'a': {'b': 1, 'c': {'d': ['2', '3'], 'e': 4}}})  # fmt: skip
        self.assertEqual(taken(short(Nested('a')), '<x><a><b>1</b></a></x>'), {'a': {'b': '1'}})

    def test_lists_of_dicts(self) -> None:
        """A list of dicts is Zato's `<item_dict>` of pairs, items with children, or the element repeated."""
        rows = short(ListOfDicts('a', Int('b'), 'c'))
        pairs = '<item><key>b</key><value>{}</value></item><item><key>c</key><value>{}</value></item>'
        for document in (
            f'<x><a><item_dict>{pairs.format(1, 2)}</item_dict><item_dict>{pairs.format(3, 4)}</item_dict></a></x>',
            f'<x><a><dict>{pairs.format(1, 2)}</dict><dict>{pairs.format(3, 4)}</dict></a></x>',
            '<x><a><item><b>1</b><c>2</c></item><item><b>3</b><c>4</c></item></a></x>',
            '<x><a><b>1</b><c>2</c></a><a><b>3</b><c>4</c></a></x>',
        ):
            self.assertEqual(taken(rows, document), {'a': [{'b': 1, 'c': '2'}, {'b': 3, 'c': '4'}]})
        self.assertEqual(taken(rows, '<x><a><b>1</b><c>2</c></a></x>'), {'a': [{'b': 1, 'c': '2'}]})

    def test_null_and_nothing(self) -> None:
        """xsi:nil is null; an element without content is an empty text, which is not a number."""
        self.assertEqual(taken(short('-a', Int('-b'), zatotx.AsIs('c')), f'<x><a {NIL}/><b {NIL}/><c {NIL}/></x>'),
                         {'a': '', 'b': '', 'c': None})  # fmt: skip
        self.assertEqual(taken(short('a', Int('-b'), Text('-c')), '<x><a/><b/><c/></x>'), {'a': '', 'b': '', 'c': ''})
        self.assertEqual(self.errors(short(Int('a'), Int('b')), f'<x><a/><b {NIL}/></x>'),
                         {'$.a': 'expected int, got str', '$.b': 'expected int, got null'})  # fmt: skip

    def test_what_a_scalar_is_not(self) -> None:
        """A repeated scalar, or one with children, is a mistake."""
        for document, got in (('<x><a>1</a><a>2</a></x>', 'array'), ('<x><a>1<b/>0</a></x>', 'object'),
                              ('<x><a><b>1</b></a></x>', 'object')):  # fmt: skip
            self.assertEqual(self.errors(short(Int('a')), document), {'$.a': f'expected int, got {got}'})
            self.assertEqual(self.errors(short(Text('a')), document), {'$.a': f'expected str, got {got}'})

    def test_all_mistakes_at_once(self) -> None:
        """All missing and invalid elements are reported, by path."""
        order = short(Int('id'), 'name', ListOfDicts('items', Int('qty'), 'sku'))
        document = '''<order><id>x</id><items><item><qty>1</qty><sku>a</sku></item><item><qty>z</qty></item>
                      </items></order>'''
        self.assertEqual(self.errors(order, document), {
            '$.id': 'expected int, got str', '$.name': 'missing', '$.items[1].qty': 'expected int, got str',
            '$.items[1].sku': 'missing',
        })  # fmt: skip

    def test_the_elements_themselves(self) -> None:
        """With use_text = False, values are the elements."""
        found = taken(classic(input_required=('a', Int('b')), use_text=False), '<x><a><c>1</c></a><b>2</b></x>')
        self.assertEqual((etree.tostring(found.a), found.b), (b'<a><c>1</c></a>', 2))
        self.assertEqual(found.a.c + 1, 2)

    def test_types_of_the_sender_count_for_nothing(self) -> None:
        """xsi:type is ignored; the declared type applies."""
        document = f'<x xmlns:xsi="{XSI}"><a xsi:type="xsd:int">x</a><b xsi:type="xsd:string">1</b></x>'
        self.assertEqual(taken(short('a', Int('b')), document), {'a': 'x', 'b': 1})


class Line(msgspec.Struct):
    sku: str
    qty: int


class Colour(Enum):
    RED = 'red'


class Size(IntEnum):
    LARGE = 3


class Spot(NamedTuple):
    x: int
    name: str


class Card(msgspec.Struct, tag='card'):
    number: str


class Cash(msgspec.Struct, tag='cash'):
    amount: Number


class One(msgspec.Struct, tag_field='kind', tag=1):
    a: int


class Two(msgspec.Struct, tag_field='kind', tag=2):
    b: str


class Tree(msgspec.Struct):
    name: str
    children: list[Tree] = []


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    a: int


class Renamed(msgspec.Struct, rename='camel'):
    first_name: str


class Everything(msgspec.Struct, kw_only=True):
    text: str
    number: int
    real: float
    sure: bool
    price: Number
    moment: dt.datetime
    day: dt.date
    span: dt.timedelta
    id: UUID
    data: bytes
    colour: Colour
    size: Size
    level: Literal[1, 2]
    spot: Spot
    pair: tuple[int, str]
    lines: list[Line]
    grid: list[list[int]]
    tags: set[str]
    codes: dict[str, int]
    by_name: dict[str, Line]
    anything: Any
    nick: str | None = None
    age: int | None = None
    more: list[int] | None = None
    other: Line | None = None


EVERYTHING = f'''<everything xmlns="urn:any">
    <text> a </text> <number> 1 </number> <real>1e3</real> <sure>1</sure> <price>1.50</price>
    <moment>2026-01-31T12:00:00Z</moment> <day>2026-01-31</day> <span>PT1H</span>
    <id>00000000-0000-0000-0000-000000000001</id> <data> aGk= </data> <colour>red</colour> <size>3</size>
    <level>2</level> <spot><item>1</item><item>here</item></spot> <pair><item>2</item><item>3</item></pair>
    <lines><sku>a</sku><qty>1</qty></lines> <lines><sku>b</sku><qty>2</qty></lines>
    <grid><item><item>1</item><item>2</item></item><item/></grid> <tags><tag>x</tag><tag>y</tag></tags>
    <codes><item><key>a b</key><value>1</value></item></codes>
    <by_name><ann><sku>c</sku><qty>3</qty></ann></by_name>
    <anything><b>1</b><b>2</b></anything>
    <age/> <more {NIL}/> <other><qty>4</qty><sku>d</sku></other>
</everything>'''


class ModelTests(Case):
    """Typed models: Structs and dataclasses with all types of fields."""

    def test_everything(self) -> None:
        """Each type is converted from text; lists and mappings have both forms."""
        self.assertEqual(taken(typed(Everything), EVERYTHING), Everything(
            text=' a ', number=1, real=1000.0, sure=True, price=Number('1.50'),
            moment=dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC), day=dt.date(2026, 1, 31), span=dt.timedelta(hours=1),
            id=UUID(int=1), data=b'hi', colour=Colour.RED, size=Size.LARGE, level=2, spot=Spot(1, 'here'),
            pair=(2, '3'), lines=[Line('a', 1), Line('b', 2)], grid=[[1, 2], []], tags={'x', 'y'}, codes={'a b': 1},
            by_name={'ann': Line('c', 3)}, anything={'b': ['1', '2']}, other=Line('d', 4),
        ))  # fmt: skip

    def test_all_mistakes_at_once(self) -> None:
        """All mistakes are reported by path, as in JSON."""
        document = EVERYTHING.replace('<number> 1 ', '<number> x ').replace('<qty>2', '<qty>y') \
            .replace('<sku>d</sku>', '').replace('<value>1', '<value>z').replace('<sure>1</sure>', '')
        self.assertEqual(self.errors(typed(Everything), document), {
            '$.number': 'expected int, got str', '$.sure': 'missing', '$.lines[1].qty': 'expected int, got str',
            '$.codes.a b': 'expected int, got str', '$.other.sku': 'missing',
        })  # fmt: skip

    def test_numerals(self) -> None:
        """Numbers may have all forms of XML Schema; other text is reported."""
        numbers = typed(msgspec.defstruct('Numbers', [('a', int), ('b', float), ('c', int | None, None)]))
        for a, b, c, expected in (('007', '.5', '', (7, 0.5, None)), ('+7', '1.', '-0', (7, 1.0, 0)),
                                (' 1 ', ' 1e3 ', ' ', (1, 1000.0, None))):  # fmt: skip
            found = taken(numbers, f'<x><a>{a}</a><b>{b}</b><c>{c}</c></x>')
            self.assertEqual((found.a, found.b, found.c), expected)
        for text in ('1_0', '٣', '0x1', '1.5', '', '1 2'):
            self.assertEqual(self.errors(numbers, f'<x><a>{text}</a><b>1</b></x>'),
                             {'$.a': 'expected int, got str'})  # fmt: skip

    def test_dataclasses(self) -> None:
        """Dataclasses get the defaults of their classes, nested ones too."""

        @dataclass
        class Inner:
            a: int = 5

        @dataclass
        class Outer:
            b: str
            inner: Inner = field(default_factory=Inner)
            inners: list[Inner] = field(default_factory=list)

        Outer.__annotations__.update(inner=Inner, inners=list[Inner])
        self.assertEqual(taken(typed(Outer), '<x><b>1</b></x>'), Outer('1'))
        self.assertEqual(taken(typed(Outer), '<x><b/><inner/><inners><a>1</a></inners><inners/></x>'),
                         Outer('', Inner(), [Inner(1), Inner()]))  # fmt: skip

    def test_lists_of_models(self) -> None:
        """A list may have items, elements with other names, the element repeated, or a single one; an item with one
        field of that name is distinguished."""
        lines = typed(msgspec.defstruct('Lines', [('lines', list[Line])]))
        a, b = '<sku>a</sku><qty>1</qty>', '<qty>2</qty><sku>b</sku>'
        for document in (f'<item>{a}</item><item>{b}</item>', f'<line>{a}</line><line>{b}</line>',
                         f'{a}</lines><lines>{b}'):  # fmt: skip
            self.assertEqual(taken(lines, f'<x><lines>{document}</lines></x>').lines, [Line('a', 1), Line('b', 2)])
        self.assertEqual(taken(lines, f'<x><lines>{a}</lines></x>').lines, [Line('a', 1)])
        self.assertEqual(taken(lines, f'<x><lines><line>{a}</line></lines></x>').lines, [Line('a', 1)])
        self.assertEqual(taken(lines, '<x><lines/></x>').lines, [])
        tag: Any = msgspec.defstruct('Tag', [('tag', str)])
        single = typed(msgspec.defstruct('Single', [('all', list[tag])]))
        self.assertEqual(taken(single, '<x><all><tag>1</tag></all></x>').all[0].tag, '1')

    def test_a_list_at_the_root(self) -> None:
        """The root may be a list of items or of elements with other names."""
        for name in ('item', 'line'):
            document = f'<x><{name}><sku>a</sku><qty>1</qty></{name}></x>'
            self.assertEqual(taken(typed(list[Line]), document), [Line('a', 1)])
        self.assertEqual(taken(typed(list[Line]), '<x/>'), [])
        self.assertEqual(self.errors(typed(list[Line]), '<x><item><qty>1</qty></item></x>'),
                         {'$[0].sku': 'missing'})  # fmt: skip

    def test_models_by_their_tags(self) -> None:
        """The tag is a child element, a number if the models declare one."""
        pay = typed(msgspec.defstruct('Pay', [('by', Card | Cash)]))
        self.assertEqual(taken(pay, '<x><by><type>cash</type><amount>1.5</amount></by></x>').by, Cash(Number('1.5')))
        self.assertEqual(self.errors(pay, '<x><by><type>gold</type></by></x>'), {'$.by.type': "invalid value 'gold'"})
        number = typed(msgspec.defstruct('Number', [('by', One | Two)]))
        self.assertEqual(taken(number, '<x><by><kind>2</kind><b>1</b></by></x>').by, Two('1'))

    def test_models_that_hold_themselves(self) -> None:
        """Recursive models are read at any depth."""
        document = '<x><name>a</name><children><name>b</name><children><name>c</name></children></children></x>'
        self.assertEqual(taken(typed(Tree), document), Tree('a', [Tree('b', [Tree('c')])]))

    def test_unknown_fields(self) -> None:
        """Unknown fields are ignored, unless the model forbids them."""
        self.assertEqual(taken(typed(Line), '<x><sku/><qty>1</qty><more/></x>'), Line('', 1))
        self.assertEqual(self.errors(typed(Strict), '<x><a>1</a><more/></x>'),
                         {'$': 'object contains unknown field more'})  # fmt: skip

    def test_names_on_the_wire(self) -> None:
        """Elements have the names that the model gives its fields in messages."""
        self.assertEqual(taken(typed(Renamed), '<x><firstName>Ann</firstName></x>'), Renamed('Ann'))

    def test_what_a_field_is_not(self) -> None:
        """Text for an object, and children or repetition for a scalar, are mistakes."""
        for document, path, what in (
            ('<x><sku>a</sku><qty><b>1</b></qty></x>', '$.qty', 'expected int, got object'),
            ('<x><sku>a</sku><qty>1</qty><qty>2</qty></x>', '$.qty', 'expected int, got array'),
            ('<x><sku>a<b/>c</sku><qty>1</qty></x>', '$.sku', 'expected str, got object'),
            ('<x>text</x>', '$', 'expected object, got str'),
        ):
            self.assertEqual(self.errors(typed(Line), document), {path: what})
