"""Declared input and output as tables and forms, against the schemas of real declarations."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct
from twisted.trial.unittest import SynchronousTestCase

from zatotx import Bool, Int, Service
from zatotx.admin.service_io import ServiceIo
from zatotx.api.service_io_and_source import describe_input_output
from zatotx.service.io.elements import Decimal, List, Secret
from zatotx.service.service_entry import ServiceEntry


class Line(Struct):
    sku: str
    quantity: int = 1


class Order(Struct):
    customer: str
    lines: list[Line]
    priority: Literal['low', 'high'] = 'low'
    tags: list[str] = []
    more: dict[str, Any] = {}


class PlaceOrder(Service):
    """Places an order."""

    name = 'orders.place'
    input = Order
    output = Int('number'), Bool('-accepted')

    async def handle(self) -> None:
        self.response.payload = {}


class Classic(Service):
    name = 'orders.classic'
    input = Int('account'), Bool('-open'), Decimal('-amount'), '-note', Secret('-pin'), List('-rows')

    async def handle(self) -> None:
        self.response.payload = {}


class Silent(Service):
    name = 'orders.silent'

    async def handle(self) -> None:
        self.response.payload = {}


def io_of(cls: type) -> ServiceIo:
    """What the web admin knows of a service."""
    return ServiceIo.from_response(describe_input_output(ServiceEntry.for_class(cls)))


class TableTests(SynchronousTestCase):
    def test_model(self) -> None:
        """Nested objects are indented below their element; types, choices and defaults are in words."""
        io = io_of(PlaceOrder)
        rows = [(row.depth, row.name, row.type, row.is_required) for row in io.input_rows()]
        self.assertEqual(rows, [
            (0, 'customer', 'text', True), (0, 'lines', 'list of object', True), (1, 'sku', 'text', True),
            (1, 'quantity', 'integer', False), (0, 'priority', 'choice', False), (0, 'tags', 'list of text', False),
            (0, 'more', 'object', False)])  # fmt: skip
        remarks = {row.name: row.description for row in io.input_rows()}
        self.assertEqual((remarks['quantity'], remarks['priority']), ('default 1', 'one of high, low; default low'))
        self.assertEqual(io.description, 'Places an order.')
        self.assertIn('"customer"', io.placeholder())

    def test_elements(self) -> None:
        """Elements have the type that they declare, although they accept text, too."""
        rows = {row.name: (row.type, row.is_required) for row in io_of(Classic).input_rows()}
        self.assertEqual(rows, {
            'account': ('integer', True), 'open': ('boolean', False), 'amount': ('decimal', False),
            'note': ('any', False), 'pin': ('password', False), 'rows': ('list', False)})  # fmt: skip
        output = [(row.name, row.type, row.is_required) for row in io_of(PlaceOrder).output_rows()]
        self.assertEqual([name for name, _, _ in output], ['number', 'accepted'])
        self.assertEqual([type_ for _, type_, _ in output], ['integer', 'boolean'])

    def test_nothing_declared(self) -> None:
        """A service without declarations has no tables and no fields."""
        io = io_of(Silent)
        self.assertEqual((io.input_rows(), io.output_rows(), io.controls({}, {})), ([], [], []))

    def test_recursion(self) -> None:
        """A schema that contains itself ends."""
        node = {'type': 'object', 'properties': {'child': {'$ref': '#/components/schemas/N'}}}
        io = ServiceIo(input={'$ref': '#/components/schemas/N'}, components={'N': node})
        self.assertEqual({row.name for row in io.input_rows()}, {'child'})
        loop = ServiceIo(input={'$ref': '#/components/schemas/A'},
                         components={'A': {'$ref': '#/components/schemas/A'}})  # fmt: skip
        self.assertEqual(len(loop.input_rows()), 1)


class FormTests(SynchronousTestCase):
    def test_controls(self) -> None:
        """Each element has the control of its type, what was typed, and the errors that the service found."""
        typed = {'in.customer': ['Ada'], 'in.lines': ['[]']}
        errors = {'lines[0].sku': 'missing', 'customer': 'too short', 'nowhere': 'x'}
        controls = {one.label: one for one in io_of(PlaceOrder).controls(typed, errors)}
        self.assertEqual({name: one.control for name, one in controls.items()}, {
            'customer': 'text', 'lines': 'json', 'priority': 'select', 'tags': 'lines', 'more': 'json'})
        self.assertEqual((controls['customer'].value, controls['customer'].error), ('Ada', 'too short'))
        self.assertEqual(controls['lines'].error, 'missing')
        self.assertEqual([value for value, _ in controls['priority'].options], ['', 'high', 'low'])
        self.assertTrue(controls['customer'].is_required)
        self.assertFalse(controls['tags'].is_required)

    def test_secrets_are_not_sent_back(self) -> None:
        """A password is typed anew each time."""
        controls = {one.label: one for one in io_of(Classic).controls({'in.pin': ['1234']}, {})}
        self.assertEqual((controls['pin'].control, controls['pin'].value), ('password', ''))
        self.assertEqual(io_of(Classic).payload({'in.pin': ['1234']}), {'pin': '1234'})

    def test_payload(self) -> None:
        """What was typed becomes values of the declared types; empty fields are not sent; what has another type is
        sent as text, about which the service complains."""
        typed = {'in.customer': ['42'], 'in.lines': ['[{"sku": "a"}]'], 'in.tags': ['x\r\ny\r\n'], 'in.priority': ['']}
        self.assertEqual(io_of(PlaceOrder).payload(typed),
                         {'customer': '42', 'lines': [{'sku': 'a'}], 'tags': ['x', 'y']})
        typed = {'in.account': ['7'], 'in.open': ['false'], 'in.amount': ['1.50'], 'in.rows': ['[1, 2]'],
                 'in.note': ['007']}
        self.assertEqual(io_of(Classic).payload(typed), {
            'account': 7, 'open': False, 'amount': '1.50', 'rows': [1, 2], 'note': '007'})
        self.assertEqual(io_of(Classic).payload({'in.note': ['{"a": 1}']}), {'note': {'a': 1}})
        self.assertEqual(io_of(Classic).payload({'in.account': ['seven']}), {'account': 'seven'})
