"""XML responses: classic SimpleIO, short form and models; text, bytes and elements; errors."""

from __future__ import annotations

import datetime as dt
from collections import namedtuple
from decimal import Decimal as Number
from itertools import count
from typing import Any

import msgspec
from lxml import etree, objectify
from twisted.trial.unittest import TestCase

from zatotx import Bool, Date, Dict, Forbidden, Int, List, ListOfDicts, Nested, Service
from zatotx.testing import ServiceTesting
from zatotx.testing.call_result import ChannelAnswer
from zatotx.wire.xml.parser import XSI, parse_document

Row = namedtuple('Row', 'a b')
NUMBERS = count()


class Line(msgspec.Struct):
    sku: str
    qty: int


class Order(msgspec.Struct):
    id: int
    lines: list[Line]
    codes: dict[str, Number]
    day: dt.date
    sure: bool
    next: Line | None
    note: str | None = None


def in_zato_env(inside: str) -> str:
    """Return the content of a response element in Zato's form."""
    return f'<zato_env><cid>CID</cid><result>ZATO_OK</result></zato_env>{inside}'


def answering(payload: Any, *, output: Any = None, **sio: Any) -> type[Service]:
    """Return a service that sets that payload."""

    class Answers(Service):
        name = f'test.answers.{next(NUMBERS)}'

        async def handle(self) -> None:
            self.response.payload = payload

    if sio:
        Answers.SimpleIO = type('SimpleIO', (), sio)  # type: ignore[attr-defined]
    if output is not None:
        Answers.output = output
    return Answers


class Case(ServiceTesting, TestCase):
    def answer(self, service: type, payload: Any = '<x/>', **request: Any) -> ChannelAnswer:
        """Return the response to a client of an XML channel."""
        return self.call(service, payload, through_channel=True, data_format='xml', **request)

    def body(self, service: type, payload: Any = '<x/>', **request: Any) -> str:
        """Return the body of a successful response, with its cid replaced by CID."""
        answer = self.answer(service, payload, **request)
        self.assertEqual((answer.status, answer.content_type), (200, 'application/xml'), answer.text)
        etree.fromstring(answer.body)
        return answer.text.replace(answer.cid, 'CID')


class ClassicTests(Case):
    """Responses of classic SimpleIO (feature map 3.5)."""

    def test_one_record(self) -> None:
        """The response element contains zato_env and an item, in the declared namespace."""
        given: dict[str, Any] = {'output_required': ('a', Int('b')), 'output_optional': ('c', 'd')}
        value = {'a': 1, 'b': '2', 'd': None, 'unknown': 3}
        item = in_zato_env('<item><a>1</a><b>2</b><c></c><d xsi:nil="true"/></item>')
        self.assertEqual(self.body(answering(value, **given)), f'<response xmlns:xsi="{XSI}">{item}</response>')
        self.assertEqual(self.body(answering(value, **given, response_elem='got', namespace='urn:x')),
                         f'<got xmlns="urn:x" xmlns:xsi="{XSI}">{item}</got>')  # fmt: skip

    def test_several_records(self) -> None:
        """Repeated output is a list of items, from any iterable, also an empty one."""
        given: dict[str, Any] = {'output_required': ('a', 'b'), 'output_repeated': True}
        rows = in_zato_env('<item_list><item><a>1</a><b>2</b></item></item_list>')
        for records in ([{'a': 1, 'b': 2}], [Row(1, 2)]):
            self.assertEqual(self.body(answering(records, **given)),
                             f'<response>{rows}</response>')  # fmt: skip
        empty = in_zato_env('<item_list></item_list>')
        self.assertEqual(self.body(answering([], **given)), f'<response>{empty}</response>')

    def test_elements(self) -> None:
        """Lists are items, dicts pairs, objects nested, each value by its type."""
        elements = (List('list'), Dict('dict'), Dict('keyed', Int('k')), ListOfDicts('rows'), Nested('deep', Int('n')),
                    Date('day'), Bool('sure'))  # fmt: skip
        value = {'list': [1, 'a'], 'dict': {'x y': True}, 'keyed': {'k': '7'}, 'rows': [{'k': 1}, {}],
                 'deep': {'n': '8'}, 'day': dt.date(2026, 1, 31), 'sure': 'yes'}  # fmt: skip
        self.assertEqual(self.body(answering(value, output_required=elements)), ''.join((
            '<response>', in_zato_env('<item>'),
            '<list><item>1</item><item>a</item></list>',
            '<dict><item><key>x y</key><value>true</value></item></dict>',
            '<keyed><item><key>k</key><value>7</value></item></keyed>',
            '<rows><dict><item><key>k</key><value>1</value></item></dict><dict></dict></rows>',
            '<deep><n>8</n></deep><day>2026-01-31</day><sure>true</sure>',
            '</item></response>',
        )))  # fmt: skip

    def test_in_3x_form(self) -> None:
        """Without a response element, the fields are directly in `<response>`."""
        self.assertEqual(self.body(answering({'a': 1}, output_required='a', response_elem=None)),
                         '<response><a>1</a></response>')  # fmt: skip


class FieldTests(Case):
    def test_short_form(self) -> None:
        """`<response>` contains the declared fields; undeclared ones are omitted."""
        self.assertEqual(self.body(answering({'a': 'x & y', 'c': 1}, output=('a', '-b'))),
                         '<response><a>x &amp; y</a><b></b></response>')  # fmt: skip

    def test_models(self) -> None:
        """Each field is written by its type; None is null, and omitted if it is the default."""
        order = Order(1, [Line('a', 2), Line('', 3)], {'a b': Number('1.50')}, dt.date(2026, 1, 31), True, None)
        self.assertEqual(self.body(answering(order, output=Order)), ''.join((
            f'<response xmlns:xsi="{XSI}"><id>1</id>',
            '<lines><item><sku>a</sku><qty>2</qty></item><item><sku></sku><qty>3</qty></item></lines>',
            '<codes><item><key>a b</key><value>1.50</value></item></codes>',
            '<day>2026-01-31</day><sure>true</sure><next xsi:nil="true"/></response>',
        )))  # fmt: skip
        self.assertEqual(self.body(answering([Line('a', 1)], output=list[Line])),
                         '<response><item><sku>a</sku><qty>1</qty></item></response>')  # fmt: skip

    def test_undeclared_values(self) -> None:
        """Undeclared objects, lists and single values are in `<response>` too."""
        for value, inside in (({'a': [1, {'b': 2}]}, '<a><item>1</item><item><b>2</b></item></a>'),
                              ([1, 2], '<item>1</item><item>2</item>'), (5, '5'), (Line('a', 1),
                              '<sku>a</sku><qty>1</qty>')):  # fmt: skip
            self.assertEqual(self.body(answering(value)), f'<response>{inside}</response>')

    def test_answers_are_read_back(self) -> None:
        """A service with the same input declaration can read the response."""

        class Taker(Service):
            input = output = Order

            async def handle(self) -> None:
                self.response.payload = self.request.input

        order = Order(1, [], {}, dt.date(2026, 1, 31), False, Line('a', 1), 'note')
        body = self.body(answering(order, output=Order))
        self.assertEqual(self.body(Taker, body), body)


class PayloadTests(Case):
    def test_text_and_bytes_go_out_unchanged(self) -> None:
        """Text and bytes are sent unchanged, also with declared output."""
        for payload in ('<a>é</a>', 'no XML at all'):
            self.assertEqual(self.answer(answering(payload)).body, payload.encode())
            self.assertEqual(self.answer(answering(payload, output='a')).body, payload.encode())
        answer = self.answer(answering(b'<a>\xff'))
        self.assertEqual((answer.body, answer.content_type), (b'<a>\xff', 'application/xml'))

    def test_elements(self) -> None:
        """Elements of lxml, of objectify, and of the request itself can be sent."""
        made = objectify.Element('made')
        made.number = 1
        self.assertEqual(self.body(answering(etree.fromstring('<a><b/></a>'))), '<a><b/></a>')
        self.assertIn('<number>1</number>', self.body(answering(made)))
        self.assertEqual(self.body(answering(made)), self.body(answering(made)))

        class Echo(Service):
            async def handle(self) -> None:
                self.response.payload = self.request.payload

        for document in ('<a b="1"><c> é </c><!-- c --></a>', parse_document('<a b="1"><c> é </c></a>'.encode())):
            self.assertEqual(self.body(Echo, document), '<a b="1"><c> é </c></a>')

    def test_parts_of_the_payload(self) -> None:
        """Leaf elements are converted by the declared type; others are sent with their content, under the declared
        name."""

        class Parts(Service):
            output = 'a', Int('b'), 'c', '-d', Int('-e')

            async def handle(self) -> None:
                for name in 'abcd':
                    setattr(self.response.payload, name, getattr(self.request.payload, name))

        class Whole(Service):
            output = 'a', Int('b'), 'c'

            async def handle(self) -> None:
                self.response.payload = self.request.payload

        document = f'<x><a> 1 </a><b>2</b><c><d>3</d><e f="4"/></c><d xmlns:xsi="{XSI}" xsi:nil="true"/></x>'
        inside = '<a> 1 </a><b>2</b><c><d>3</d><e f="4"/></c>'
        self.assertEqual(self.body(Parts, document),
                         f'<response xmlns:xsi="{XSI}">{inside}<d xsi:nil="true"/><e></e></response>')  # fmt: skip
        odd = document.replace('</x>', '<__struct_fields__>a</__struct_fields__></x>')
        self.assertEqual(self.body(Whole, odd), f'<response>{inside}</response>')

    def test_the_services_own_content_type(self) -> None:
        """Content type, status and headers of the service are sent."""

        class Typed(Service):
            async def handle(self) -> None:
                self.response.payload = {'a': 1}
                self.response.content_type = 'application/vnd.a+xml'
                self.response.status_code = 201
                self.response.headers['X-A'] = 'b'

        answer = self.answer(Typed)
        self.assertEqual((answer.status, answer.content_type, answer.headers['X-A'], answer.text),
                         (201, 'application/vnd.a+xml', 'b', '<response><a>1</a></response>'))  # fmt: skip

    def test_threads_do_the_same(self) -> None:
        """A def service on an XML channel responds the same way."""

        class InThread(Service):
            input = Int('a')
            output = 'a'

            def handle(self) -> None:
                self.response.payload = {'a': self.request.input.a + 1}

        self.assertEqual(self.body(InThread, '<x><a>1</a></x>'), '<response><a>2</a></response>')


class ErrorTests(Case):
    def refused(self, service: type, payload: Any = '<x/>', **request: Any) -> tuple[int, str]:
        """Return status and details of an error response."""
        answer = self.answer(service, payload, **request)
        self.assertEqual(answer.content_type, 'application/xml')
        root = etree.fromstring(answer.body)
        self.assertEqual((root.tag, [child.tag for child in root]), ('error', ['cid', 'details']))
        self.assertEqual(root[0].text, answer.cid)
        return answer.status, root[1].text or ''

    def test_of_the_caller(self) -> None:
        """Malformed XML, an empty body and bad input are 400 with the reason."""
        typed = type('Typed', (Service,), {'input': (Int('a'), 'b'), 'handle': lambda self: None})
        for body, details in (
            ('<x>', 'Malformed XML: premature end of data in tag x line 1 (line 1, column 4)'),
            ('', 'Malformed XML: the body is empty'),
            ('<!DOCTYPE x><x/>', 'Malformed XML: a document type declaration (DTD) is not accepted here '
                                 '(line 1, column 1)'),
            ('<x><a>é</a></x>'.encode('latin-1'), 'Malformed XML: invalid UTF-8 (line 1, column 7)'),
            ('<x><a>y</a></x>', '$.a: expected int, got str; $.b: missing'),
        ):
            self.assertEqual(self.refused(typed, body), (400, details))
        self.assertEqual(self.refused(typed, '<x/>', headers={'Content-Type': 'text/xml; charset=utf-7'})[0], 400)

    def test_that_services_raise(self) -> None:
        """Errors have their own status; the response is XML whatever text they contain."""

        class Refuses(Service):
            async def handle(self) -> None:
                raise Forbidden(self.cid, 'Not <here> & \0not \ud800 now')

        self.assertEqual(self.refused(Refuses), (403, 'Not <here> & \ufffdnot \ufffd now'))

    def test_of_the_service(self) -> None:
        """Values that XML cannot represent or that do not match the declaration are 500 with the reason, never a
        partial response."""
        no_form = 'gives what has no form in XML: '
        for service, details in (
            (answering({'a': 'x\0'}), f'{no_form}The text of a has the character U+0000, which XML cannot hold'),
            (answering({'a b': 1}), f"{no_form}The key 'a b' in response is no name for an XML element"),
            (answering({'a': object()}), f'{no_form}A value of type object has no form in XML (a)'),
            (answering({'a b': 1}, output='a b'), f"{no_form}The name 'a b' is none for an XML element"),
            (answering({'a': 1}, output_required='a', response_elem='a b'),
             f"{no_form}The response_elem 'a b' is no name for an XML element"),
            (answering({'a': 'x'}, output=Int('a')), 'did not give the output it declares: $.a: expected int, got str'),
        ):
            self.assertEqual(self.refused(service), (500, f'Service {service.name} {details}'))
        endless: list[Any] = []
        endless.append(endless)
        self.assertIn('nested too deeply', self.refused(answering(endless))[1])
