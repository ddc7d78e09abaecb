"""Typed models as input and output: Structs, dataclasses, Zato 3.x Models."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Optional

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.invoking import Calls, call, outcome_of
from zatotx import Bunch, Model, Service
from zatotx.model.errors import BadInput
from zatotx.service.io.io_declaration import BadOutput


class Item(msgspec.Struct):
    sku: str
    qty: Annotated[int, msgspec.Meta(ge=1)]
    note: str | None = None


class Order(msgspec.Struct):
    name: str
    items: list[Item]
    due: dt.date | None = None
    tags: dict[str, int] = {}
    codes: list[int] = []
    urgent: bool = False


@dataclass
class Line:
    sku: str
    qty: int = 1


@dataclass(init=False)
class Basket(Model):
    owner: str
    lines: list[Line] = field(default_factory=list)
    coupon: Optional[str] = None  # noqa: UP045 - as Zato's users write it
    currency: str = 'EUR'


@dataclass(init=False)
class Stop(Model):
    weight: float
    city: Optional[str]  # noqa: UP045
    number: Optional[int]  # noqa: UP045
    lines: list[Line] | None
    extra: dict[str, Any] | None
    after: Line | None


class Defaults(msgspec.Struct):
    a: int = 0


class Cat(msgspec.Struct, tag=True):
    lives: int
    name: str


class Dog(msgspec.Struct, tag=True):
    name: str


class Owner(msgspec.Struct):
    pet: Cat | Dog


class Struct(Service):
    input = Order
    output = Order

    async def handle(self) -> None:
        self.response.payload = self.request.input


class Dataclass(Service):
    input = Basket
    output = Basket

    async def handle(self) -> None:
        self.response.payload = self.request.input


def answering(model: Any, value: Any) -> Any:
    class Answers(Service):
        output = model

        async def handle(self) -> None:
            if callable(value):
                value(self.response)
            else:
                self.response.payload = value

    outcome = call(Answers)
    return msgspec.json.decode(msgspec.json.encode(outcome.value))


class TypedInputTests(SynchronousTestCase):
    def errors(self, service: type, payload: Any = '', **request: Any) -> set[tuple[str, str]]:
        return set(self.assertRaises(BadInput, call, service, payload, **request).errors)

    def test_a_struct(self) -> None:
        """Input is an instance of the Struct; the response has no element."""
        outcome = call(Struct, {'name': 'a', 'items': [{'sku': 'x', 'qty': 2}], 'due': '2026-01-02', 'unknown': 1})
        self.assertEqual(outcome.element, '')
        self.assertEqual(outcome.value, Order('a', [Item('x', 2)], dt.date(2026, 1, 2)))

    def test_a_dataclass_model(self) -> None:
        """Defaults are set on instances and in the response, nested ones too."""
        outcome = call(Dataclass, {'owner': 'a', 'lines': [{'sku': 'x'}]})
        self.assertIsInstance(outcome.value, Basket)
        self.assertEqual(
            msgspec.json.decode(msgspec.json.encode(outcome.value)),
            {'owner': 'a', 'lines': [{'sku': 'x', 'qty': 1}], 'coupon': None, 'currency': 'EUR'},
        )

    def test_all_mistakes_at_once(self) -> None:
        """All mistakes at any depth are reported, each with its path."""
        found = self.errors(Struct, {
            'items': [{'sku': 'a', 'qty': 1}, {'sku': 'b'}, {'sku': 5, 'qty': 0}, {'sku': 'd', 'qty': 'x'}, 7],
            'due': 'soon', 'tags': {'x': 'y'}, 'codes': [1, '2'], 'urgent': 1,
        })  # fmt: skip
        self.assertEqual(found, {
            ('$.name', 'missing'), ('$.items[1].qty', 'missing'), ('$.items[2].sku', 'expected str, got int'),
            ('$.items[2].qty', 'expected int >= 1'), ('$.items[3].qty', 'expected int, got str'),
            ('$.items[4]', 'expected object, got int'), ('$.due', 'invalid RFC3339 encoded date'),
            ('$.tags.x', 'expected int, got str'), ('$.codes[1]', 'expected int, got str'),
            ('$.urgent', 'expected bool, got int'),
        })  # fmt: skip

    def test_mistakes_of_dataclasses(self) -> None:
        """Mistakes in dataclasses are reported like those in Structs."""
        found = self.errors(Dataclass, {'lines': [{'qty': 'x'}], 'coupon': 5})
        self.assertEqual(found, {
            ('$.owner', 'missing'), ('$.lines[0].sku', 'missing'), ('$.lines[0].qty', 'expected int, got str'),
            ('$.coupon', 'expected str | null, got int'),
        })  # fmt: skip

    def test_renamed_fields(self) -> None:
        """Paths contain the names used in messages."""

        class Renamed(msgspec.Struct, rename='camel'):
            first_name: str

        self.assertEqual(self.errors(taking(Renamed), {}), {('$.firstName', 'missing')})

    def test_unknown_fields_where_a_model_forbids_them(self) -> None:
        """Unknown fields are reported if the model forbids them."""

        class Strict(msgspec.Struct, forbid_unknown_fields=True):
            a: int

        self.assertEqual(self.errors(taking(Strict), {'a': 1, 'b': 2}), {('$', 'object contains unknown field b')})

    def test_tagged_unions(self) -> None:
        """The tag selects the model whose mistakes are reported."""

        self.assertEqual(call(taking(Owner), {'pet': {'type': 'Dog', 'name': 'Rex'}}).value, Owner(Dog('Rex')))
        self.assertEqual(
            self.errors(taking(Owner), {'pet': {'type': 'Cat'}}),
            {('$.pet.lives', 'missing'), ('$.pet.name', 'missing')},
        )
        found = self.errors(taking(Owner), {'pet': {'type': 'Cow'}})
        self.assertEqual(found, {('$.pet.type', "invalid value 'Cow'")})

    def test_bounds_of_containers(self) -> None:
        """A list that is too short is a mistake of the list."""

        class Bounded(msgspec.Struct):
            few: Annotated[list[int], msgspec.Meta(min_length=2)]
            pair: tuple[int, str]
            wanted: set[int]

        self.assertEqual(
            self.errors(taking(Bounded), {'few': [1], 'pair': [1, 2], 'wanted': [1, 'x']}),
            {('$.few', 'expected array of length >= 2'), ('$.pair[1]', 'expected str, got int'),
             ('$.wanted[1]', 'expected int, got str')},
        )  # fmt: skip

    def test_a_list_of_models(self) -> None:
        """`input = list[Item]` accepts an array."""
        self.assertEqual(call(taking(list[Item]), [{'sku': 'a', 'qty': 1}]).value, [Item('a', 1)])
        self.assertEqual(self.errors(taking(list[Item]), [{'qty': 1}]), {('$[0].sku', 'missing')})
        self.assertEqual(self.errors(taking(list[Item]), {'a': 1}), {('$', 'expected array, got object')})

    def test_a_body_that_is_no_object(self) -> None:
        """A body that is not an object is reported once, also with parameters and from XML; so are null and an empty
        text."""
        for body, kind in (([1], 'array'), ([['sku', 'x'], ['qty', 1]], 'array'), ([], 'array'), (5, 'int')):
            for request in ({}, {'params': {'sku': 'x'}}, {'query': b'sku=x&qty=2'}):
                found = self.errors(taking(Item), body, **request)
                self.assertEqual(found, {('$', f'expected object, got {kind}')}, (body, request))
        for text, kind in ((b'null', 'null'), (b'""', 'str')):
            inbound = Calls(taking(Defaults)).http(body=text, query=b'a=1')
            started = Calls(taking(Defaults)).start(inbound, json.loads(text))
            bad: BadInput = self.assertRaises(BadInput, outcome_of, started)
            self.assertEqual(bad.errors, (('$', f'expected object, got {kind}'),))
        for data_format in ('xml', 'soap'):
            calls = Calls(taking(Item))
            inbound = calls.http(body=b'<x>text</x>', query=b'sku=x&qty=2', data_format=data_format)
            bad = self.assertRaises(BadInput, outcome_of, calls.start(inbound, 'text'))
            self.assertEqual(bad.errors, (('$', 'expected object, got str'),), data_format)

    def test_models_that_are_lists(self) -> None:
        """A Struct encoded as a list cannot be combined with parameters."""

        class Point(msgspec.Struct, array_like=True):
            x: int
            y: int

        self.assertEqual(call(taking(Point), [1.0, 2], query=b'x=5').value, Point(1, 2))
        self.assertEqual(self.errors(taking(Point), {'x': 1}, query=b'x=5'), {('$', 'expected array, got object')})

    def test_integers_with_a_point(self) -> None:
        """1.0 is an integer where only an integer is valid, as in JSON Schema; 1.5 is not."""

        class Numbers(msgspec.Struct):
            n: int
            x: float = 0.0
            either: int | float = 0
            listed: list[int] = []
            pair: tuple[int, str] = (0, '')
            named: dict[str, int] = {}
            by_number: dict[int, str] = {}
            one: Literal[1, 2] = 1
            below: list[Item] = []
            pet: Cat | Dog | None = None
            anything: Any = None

        given = {'n': 2.0, 'x': 3, 'either': 1.0, 'listed': [1.0, 2], 'pair': [7.0, 'a'], 'named': {'a': 5.0},
                 'by_number': {'4': 'd'}, 'one': 2.0, 'below': [{'sku': 'x', 'qty': 1.0}],
                 'pet': {'type': 'Cat', 'lives': 9.0, 'name': 'Tom'}, 'anything': 1.0}  # fmt: skip
        found = call(taking(Numbers), given).value
        self.assertEqual(found, Numbers(2, 3.0, 1.0, [1, 2], (7, 'a'), {'a': 5}, {4: 'd'}, 2, [Item('x', 1)],
                                        Cat(9, 'Tom'), 1.0))
        self.assertEqual([type(one) for one in (found.n, found.either, found.anything)], [int, float, float])
        self.assertEqual(self.errors(taking(Numbers), {'n': 1.5, 'listed': [1.0, 0.5]}),
                         {('$.n', 'expected int, got float'), ('$.listed[1]', 'expected int, got float')})

    def test_query_and_path(self) -> None:
        """Text is converted by the field's type; its mistakes have bare names, those of the body paths."""

        class Search(msgspec.Struct):
            limit: int
            wanted: bool = False
            codes: list[int] = []
            price: decimal.Decimal | None = None
            body: int = 0

        found = call(taking(Search), method='GET', query=b'limit=5&wanted=true&codes=1&price=1.10').value
        self.assertEqual(found, Search(5, True, [1], decimal.Decimal('1.10')))
        found = call(taking(Search), {'body': 1}, query=b'codes=1&codes=2', params={'limit': '7'}).value
        self.assertEqual(found, Search(7, codes=[1, 2], body=1))
        self.assertEqual(
            self.errors(taking(Search), {'body': 'x'}, query=b'limit=y&codes=1&codes=z'),
            {('limit', 'expected int, got str'), ('codes[1]', 'expected int, got str'),
             ('$.body', 'expected int, got str')},
        )  # fmt: skip
        self.assertEqual(self.errors(taking(Search), method='GET'), {('limit', 'missing')})

    def test_forms(self) -> None:
        """Values of forms are converted from text too."""
        calls = Calls(Dataclass)
        inbound = calls.http(data_format='form')
        self.assertEqual(outcome_of(calls.start(inbound, {'owner': 'a', 'currency': 'PLN'})).value.currency, 'PLN')

    def test_text_needs_a_text_source(self) -> None:
        """In JSON, the text of a number is not a number."""
        self.assertEqual(
            self.errors(Struct, {'name': 'a', 'items': [{'sku': 'x', 'qty': '2'}]}),
            {('$.items[0].qty', 'expected int, got str')},
        )


def taking(model: Any) -> type[Service]:
    """Return a service that declares and returns that input."""

    class Takes(Service):
        input = model

        async def handle(self) -> None:
            self.response.payload = self.request.input

    return Takes


class TypedOutputTests(SynchronousTestCase):
    def test_all_forms_of_one_answer(self) -> None:
        """An instance, a dict, a Bunch, attributes, a row and another model give the same response."""

        class Row:
            sku = 'x'
            qty = 2
            other = 3

        def by_attribute(response: Any) -> None:
            response.payload.sku = 'x'
            response.payload.qty = 2

        mappings = {'sku': 'x', 'qty': 2}, Bunch(sku='x', qty=2, z=1)
        for value in (Item('x', 2), *mappings, by_attribute, Row(), Line('x', 2)):
            self.assertEqual(answering(Item, value), {'sku': 'x', 'qty': 2, 'note': None})

    def test_a_list(self) -> None:
        """`output = list[Item]` accepts any of these in a list."""
        self.assertEqual(
            answering(list[Line], [Line('a', 2), {'sku': 'b'}]), [{'sku': 'a', 'qty': 2}, {'sku': 'b', 'qty': 1}]
        )
        self.assertEqual(answering(list[Line], []), [], 'an empty list is an answer')

    def test_what_is_wrong_is_named(self) -> None:
        """Invalid output is an error of the service listing each mistake with its path."""
        bad = self.assertRaises(BadOutput, answering, Order, {'items': [{'sku': 1, 'qty': 1}]})
        self.assertEqual(set(bad.errors), {('.name', 'missing'), ('.items[0].sku', 'expected str, got int')})

    def test_a_model_that_is_not_filled(self) -> None:
        """A dataclass without a required attribute is an error."""
        basket = Basket()
        basket.lines = [Line('a')]
        bad = self.assertRaises(BadOutput, answering, Basket, basket)
        self.assertEqual(bad.errors, (('.owner', 'missing'),))

    def test_defaults_of_a_model_made_by_hand(self) -> None:
        """Defaults of the class are serialized although they were never set."""
        basket = Basket()
        basket.owner = 'me'
        self.assertEqual(
            answering(Basket, basket), {'owner': 'me', 'lines': [], 'coupon': None, 'currency': 'EUR'}
        )


class ModelTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """Models are converted to and from dict, JSON and Bunch."""
        basket = Basket.from_dict({'owner': 'a', 'lines': [{'sku': 'x'}]})
        whole = {'owner': 'a', 'lines': [{'sku': 'x', 'qty': 1}], 'coupon': None, 'currency': 'EUR'}
        self.assertEqual(basket.to_dict(), whole)
        self.assertEqual(msgspec.json.decode(basket.to_json()), whole)
        self.assertEqual(Basket.from_json(basket.to_json()).to_dict(), whole)
        self.assertEqual(basket.to_bunch().lines[0].sku, 'x')

    def test_a_clone_shares_nothing(self) -> None:
        """A change of a clone does not affect the original."""
        basket = Basket.from_dict({'owner': 'a', 'lines': [{'sku': 'x'}]})
        basket.clone().lines[0].sku = 'y'
        self.assertEqual(basket.lines[0].sku, 'x')

    def test_mistakes(self) -> None:
        """from_dict reports all mistakes."""
        bad = self.assertRaises(BadInput, Basket.from_dict, {'lines': [{}]})
        self.assertEqual(set(bad.errors), {('$.owner', 'missing'), ('$.lines[0].sku', 'missing')})

    def test_what_may_be_none_may_be_left_out(self) -> None:
        """Optional fields may be omitted and get Zato's defaults, by from_dict, in input and in output."""
        whole = {'weight': 1.5, 'city': '', 'number': 0, 'lines': [], 'extra': {}, 'after': None}
        self.assertEqual(Stop.from_dict({'weight': 1.5}).to_dict(), whole)

        class Same(Service):
            input = Stop
            output = Stop

            async def handle(self) -> None:
                self.response.payload = self.request.input

        self.assertEqual(call(Same, {'weight': 1.5}).value.to_dict(), whole)
        stop = Stop()
        stop.weight = 1.5
        self.assertEqual(answering(Stop, stop), whole)
        bad = self.assertRaises(BadInput, call, Same, {'city': 'x'})
        self.assertEqual(bad.errors, (('$.weight', 'missing'),))

    def test_numbers_may_be_text(self) -> None:
        """Numbers may be text, as in Zato; other text is a mistake."""
        self.assertEqual(Stop.from_dict({'weight': '1.5', 'number': '7'}).number, 7)
        bad = self.assertRaises(BadInput, Stop.from_dict, {'weight': 1, 'number': 'seven'})
        self.assertEqual(bad.errors, (('$.number', 'expected int | null, got str'),))

    def test_fields_by_name(self) -> None:
        """Fields can be read by name as in a mapping; missing ones are None."""
        stop = Stop.from_dict({'weight': 1, 'city': 'Opole'})
        self.assertEqual((stop['city'], stop.get('number'), stop['no_such'], 'city' in stop), ('Opole', 0, None, True))
