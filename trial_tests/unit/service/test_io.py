"""Declared input and output: classic SimpleIO and the short form."""

from __future__ import annotations

import datetime as dt
from collections import namedtuple
from typing import Any, ClassVar

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.invoking import Calls, call, outcome_of
from zatotx import AsIs, Bunch, Date, DictList, Float, Int, List, Service, Text
from zatotx.model.errors import BadInput
from zatotx.model.message import ServiceResult
from zatotx.service.io.declaration_reader import read_io_declaration
from zatotx.service.io.io_declaration import BadOutput

Row = namedtuple('Row', 'a b')


class Classic(Service):
    class SimpleIO:
        input_required = ('name', 'cust_id')
        input_optional = ('nick', Int('age'))
        output_required = ('name', 'cust_id')
        output_optional = ('note',)

    async def handle(self) -> None:
        self.response.payload.name = self.request.input.name
        self.response.payload.cust_id = self.request.input.cust_id
        self.response.payload.not_declared = 1


class Short(Service):
    input = 'name', '-nick', Int('qty'), Float('-price')
    output = 'input', '-note'

    async def handle(self) -> None:
        self.response.payload = {'input': self.request.input}


class Order(Service):
    input = 'name', DictList('items', Int('qty'), 'sku')

    async def handle(self) -> None:
        self.response.payload = self.request.input


def answering(value: Any, **sio: Any) -> ServiceResult:
    """Return the outcome of a service that sets that payload under those declarations."""

    class Answers(Service):
        SimpleIO: ClassVar[Any] = type('SimpleIO', (), sio)

        async def handle(self) -> None:
            if callable(value):
                value(self.response)
            else:
                self.response.payload = value

    return call(Answers)


class InputTests(SynchronousTestCase):
    def errors(self, service: type, payload: Any = '', **request: Any) -> tuple[tuple[str, str], ...]:
        bad: BadInput = self.assertRaises(BadInput, call, service, payload, **request)
        return bad.errors

    def test_classic(self) -> None:
        """Required and optional elements are read by name; names imply types; the response is in its element."""
        outcome = call(Classic, {'name': 'Ann', 'cust_id': '7', 'unknown': 1})
        self.assertEqual((outcome.element, outcome.value), ('response', {'name': 'Ann', 'cust_id': 7, 'note': ''}))

    def test_json_that_nobody_reads(self) -> None:
        """For a JSON body on a channel without a data format, the error also explains why it was not read."""
        why = ("the body looks like JSON, and channel 'test' has no data_format, so that its elements are not read: "
               'set data_format: json')  # fmt: skip
        calls = Calls(Short)
        for body, told in ((b' {"name": "Ann", "qty": 1}', why), (b'[1]', why), (b'name=Ann', ''), (b'', '')):
            for data_format in ('', 'json'):
                inbound = calls.http(body=body, data_format=data_format)
                bad = self.failureResultOf(calls.start(inbound, '' if data_format else body), BadInput).value
                self.assertEqual(bad.errors[-1] == ('$', why), bool(told) and not data_format, (body, data_format))

    def test_short_form(self) -> None:
        """Absent optional elements are ''; unknown ones are ignored; the response has no element."""
        outcome = call(Short, {'name': 'Ann', 'qty': '2', 'unknown': 1})
        self.assertEqual(outcome.element, '')
        self.assertEqual(outcome.value, {'input': {'name': 'Ann', 'nick': '', 'qty': 2, 'price': ''}, 'note': ''})

    def test_a_single_name_is_enough(self) -> None:
        """`input = 'name'` declares one element."""

        class One(Service):
            input = 'name'
            output = 'name'

            async def handle(self) -> None:
                self.response.payload.name = self.request.input.name

        self.assertEqual(call(One, {'name': 'x'}).value, {'name': 'x'})

    def test_all_mistakes_at_once(self) -> None:
        """All missing and invalid elements are reported, by path."""
        items = [{'qty': 1, 'sku': 'a'}, {'sku': 'b'}, {'qty': 1, 'sku': 'c'}, {'qty': 'x'}]
        self.assertEqual(
            self.errors(Order, {'items': items}),
            (
                ('$.name', 'missing'), ('$.items[1].qty', 'missing'), ('$.items[3].qty', 'expected int, got str'),
                ('$.items[3].sku', 'missing'),
            ),
        )  # fmt: skip

    def test_the_caller_reads_them(self) -> None:
        """Mistakes are a 400 response with the cid of the request."""
        bad = self.assertRaises(BadInput, call, Short, {'qty': []})
        self.assertEqual((bad.status, bad.cid), (400, '0123456789abcdef01234567'))
        self.assertEqual(bad.details, '$.name: missing; $.qty: expected int, got array')

    def test_query_and_path_by_name(self) -> None:
        """Text from query and path is converted; its mistakes have the bare name."""
        outcome = call(Short, method='GET', query=b'qty=5&price=1.5', params={'name': 'a b'})
        self.assertEqual(outcome.value['input'], {'name': 'a b', 'nick': '', 'qty': 5, 'price': 1.5})
        self.assertEqual(
            self.errors(Short, method='GET', query=b'qty=x&price=y'),
            (('name', 'missing'), ('qty', 'expected int, got str'), ('price', 'expected float, got str')),
        )

    def test_repeated_parameters(self) -> None:
        """A repeated parameter is a list if the field is a list or `AsIs`, otherwise a mistake."""

        class Takes(Service):
            input = '-lang', List('-tag'), AsIs('-raw'), Int('-n'), Text('-text')

            async def handle(self) -> None:
                self.response.payload = self.request.input

        found = call(Takes, method='GET', query=b'tag=a&tag=b&raw=c&raw=d&lang=en').value
        self.assertEqual((found.tag, found.raw, found.lang), (['a', 'b'], ['c', 'd'], 'en'))
        self.assertEqual(
            self.errors(Takes, method='GET', query=b'lang=en&lang=pl&n=1&n=2&text=a&text=b'),
            (('lang', 'expected one value, got 2'), ('n', 'expected int, got array'),
             ('text', 'expected str, got array')),
        )
        self.assertEqual(call(Takes, {'lang': ['en', 'pl']}).value.lang, ['en', 'pl'], 'JSON says what it means')

    def test_integers_with_a_point(self) -> None:
        """5.0 is an integer, in text too; 5.5 is not."""
        for qty in (5.0, '5.0', '5.', '5'):
            self.assertEqual(call(Short, {'name': 'a', 'qty': qty}).value['input']['qty'], 5)
        for qty in (5.5, '5.5', '.5', '.', '5.0e1'):
            self.assertEqual(self.errors(Short, {'name': 'a', 'qty': qty})[0][0], '$.qty', qty)

    def test_form_by_name(self) -> None:
        """A form is text like a query, whatever the channel's data format."""
        calls = Calls(Short)
        headers = {b'content-type': b'application/x-www-form-urlencoded; charset=utf-8'}
        for data_format, payload in (('form', {'name': 'A', 'qty': '1'}), ('json', {'name': 'A', 'qty': '1'}),
                                     ('', b'name=A&qty=1')):
            inbound = calls.http(headers=headers, data_format=data_format)
            self.assertEqual(outcome_of(calls.start(inbound, payload)).value['input']['qty'], 1)
        inbound = calls.http(headers=headers, body=b'{"name": "A", "qty": "x"}')
        bad = self.assertRaises(BadInput, outcome_of, calls.start(inbound, {'name': 'A', 'qty': 'x'}))
        self.assertEqual(bad.errors, (('$.qty', 'expected int, got str'),), 'JSON that curl -d calls a form')
        inbound = calls.http(headers=headers, data_format='form')
        bad = self.assertRaises(BadInput, outcome_of, calls.start(inbound, {'qty': 'x'}))
        self.assertEqual(bad.errors, (('name', 'missing'), ('qty', 'expected int, got str')))

    def test_a_malformed_query_is_a_mistake(self) -> None:
        """A malformed query is rejected."""
        self.assertEqual(self.errors(Short, {'name': 'a', 'qty': 1}, query=b'x=%zz')[0][0], 'query')

    def test_parameters_win_unless_told_otherwise(self) -> None:
        """Zato's params_pri is respected; path parameters take precedence over the query."""
        body = {'name': 'body', 'qty': 1}
        request = {'query': b'name=query&nick=q', 'params': {'name': 'path'}}
        self.assertEqual(call(Short, body, **request).value['input']['name'], 'path')
        found = call(Short, body, params_pri='msg-over-channel-params', **request).value['input']
        self.assertEqual((found['name'], found['nick']), ('body', 'q'))
        found = call(Short, body, merge_url_params=False, **request).value['input']
        self.assertEqual((found['name'], found['nick']), ('body', ''))

    def test_an_address_is_no_input(self) -> None:
        """A path parameter that names the service does not hide a field of the body."""

        class Takes(Service):
            input = 'service'
            output = 'service'

            async def handle(self) -> None:
                self.response.payload.service = self.request.input.service

        found = call(Takes, {'service': 'body'}, params={'service': 'path'}, service='', is_builtin_endpoint=True)
        self.assertEqual(found.value, {'service': 'body'})

    def test_parameters_only(self) -> None:
        """With use_channel_params_only the body is ignored."""

        class Only(Service):
            class SimpleIO:
                input_required = 'name'
                use_channel_params_only = True

            async def handle(self) -> None:
                self.response.payload = self.request.input.name

        self.assertEqual(call(Only, {'name': 'body'}, query=b'name=query').value, 'query')
        self.assertEqual(self.errors(Only, {'name': 'body'}), (('name', 'missing'),))

    def test_a_body_that_is_no_object(self) -> None:
        """A body that is not an object is reported once."""
        for value, kind in (([1], 'array'), ('x', 'str'), (5, 'int')):
            self.assertEqual(self.errors(Short, value), (('$', f'expected object, got {kind}'),))

    def test_null(self) -> None:
        """Null means absent for optional elements, and is a mistake for required ones."""
        found = call(Short, {'name': 'a', 'qty': 1, 'nick': None}).value['input']
        self.assertEqual(found['nick'], '')
        self.assertEqual(
            self.errors(Short, {'name': None, 'qty': None}),
            (('$.name', 'expected a value, got null'), ('$.qty', 'expected int, got null')),
        )

    def test_empty_text(self) -> None:
        """Empty text is valid text; for a number it means absent if optional, and is a mistake if required."""
        found = call(Short, {'name': '', 'qty': 1, 'price': ''}).value['input']
        self.assertEqual((found['name'], found['price']), ('', ''))
        self.assertEqual(self.errors(Short, {'name': 'a', 'qty': ''}), (('$.qty', 'expected int, got str'),))

    def test_defaults(self) -> None:
        """default_value applies to all elements, `default=` to one; mutable defaults are not shared."""

        class Defaults(Service):
            class SimpleIO:
                input_required = (Int('a', default=5),)
                input_optional = ('b', List('c', default=[]))
                default_value = 'none'

            async def handle(self) -> None:
                self.request.input.c.append(1)
                self.response.payload = self.request.input

        for _ in range(2):
            self.assertEqual(call(Defaults, {}).value, {'a': 5, 'b': 'none', 'c': [1]})

    def test_allow_empty_required(self) -> None:
        """3.x's option: False rejects empty required text, True accepts it for numbers too."""
        for allowed, value, expected in ((False, {'a': '', 'n': 1}, (('$.a', 'must not be empty'),)),
                                         (True, {'a': '', 'n': ''}, None)):

            class Empty(Service):
                SimpleIO: ClassVar[Any] = type(
                    'SimpleIO', (), {'input_required': ('a', Int('n')), 'allow_empty_required': allowed}
                )

                async def handle(self) -> None:
                    self.response.payload = self.request.input

            if expected is None:
                self.assertEqual(call(Empty, value).value, {'a': '', 'n': ''})
            else:
                self.assertEqual(self.errors(Empty, value), expected)

    def test_everything_merged_without_a_declaration(self) -> None:
        """Without a declaration, input is body, query and path merged."""

        class Free(Service):
            async def handle(self) -> None:
                self.response.payload = self.request.input

        found = call(Free, {'a': 1}, query=b'b=2&b=3', params={'c': '4'}).value
        self.assertEqual(found, {'a': 1, 'b': ['2', '3'], 'c': '4'})

    def test_the_description_is_one(self) -> None:
        """Both declarations give the same description."""
        for service in (Classic, Short):
            io = read_io_declaration(service)
            assert io.input is not None
            self.assertIn(('name', True), [(one.name, one.required) for one in io.input.fields])


class DeclarationTests(SynchronousTestCase):
    def test_nonsense_is_named(self) -> None:
        """An invalid declaration is named with the reason."""
        for attributes, sentence in (
            ({'input': ('a', 5)}, 'input: 5 is neither a name nor an element such as Int("x")'),
            ({'output': ('a', 'a')}, "output: 'a' is declared twice"),
            ({'output': 5}, 'output: 5 is neither a name'),
            ({'SimpleIO': type('S', (), {'input_required': (b'a',)})}, "SimpleIO.input_required: b'a' is neither"),
            ({'SimpleIO': type('S', (), {'input_required': 'a', 'input_optional': 'a'})}, "SimpleIO.input: 'a' is"),
        ):
            error = self.assertRaises(TypeError, read_io_declaration, type('X', (Service,), attributes))
            self.assertIn(sentence, str(error))

    def test_short_forms_inside_simple_io(self) -> None:
        """3.x's `class SimpleIO: input = …; output = …` responds without an element."""

        class Inner(Service):
            class SimpleIO:
                input = 'a', '-b'
                output = 'a'

            async def handle(self) -> None:
                self.response.payload.a = self.request.input.a

        outcome = call(Inner, {'a': 1})
        self.assertEqual((outcome.element, outcome.value), ('', {'a': 1}))

    def test_inherited_declarations(self) -> None:
        """A SimpleIO may inherit from another."""

        class Base:
            input_required = ('a',)
            response_elem = 'base'

        class Derived(Service):
            class SimpleIO(Base):
                output_required = ('a',)

            async def handle(self) -> None:
                self.response.payload.a = self.request.input.a

        outcome = call(Derived, {'a': 1})
        self.assertEqual((outcome.element, outcome.value), ('base', {'a': 1}))


class OutputTests(SynchronousTestCase):
    def test_all_forms_of_one_answer(self) -> None:
        """Attributes, keys, dict, Bunch, Struct and row give the same response."""

        class Model(msgspec.Struct):
            a: int
            b: int

        def by_attribute(response: Any) -> None:
            response.payload.a, response.payload.b = 1, 2

        def by_key(response: Any) -> None:
            response.payload['a'] = 1
            response.payload.update({'b': 2})

        def mixed(response: Any) -> None:
            response.payload = {'a': 1}
            response.payload.b = 2

        for value in (by_attribute, by_key, mixed, {'a': 1, 'b': 2, 'c': 3}, Bunch(a=1, b=2), Model(1, 2), Row(1, 2)):
            outcome = answering(value, output_required=('a', 'b'))
            self.assertEqual((outcome.element, outcome.value), ('response', {'a': 1, 'b': 2}))

    def test_all_forms_of_a_list(self) -> None:
        """`payload[:] =`, `append`, a list and a generator are converted item by item."""

        def by_slice(response: Any) -> None:
            response.payload[:] = [{'a': 1, 'x': 0}, Row(2, 0)]

        def by_append(response: Any) -> None:
            response.payload.append({'a': 1})
            response.payload.append({'a': 2})

        for value in (by_slice, by_append, [{'a': 1}, {'a': 2}], ({'a': 1}, {'a': 2})):
            outcome = answering(value, output_required=('a',), output_repeated=True)
            self.assertEqual(outcome.value, [{'a': 1}, {'a': 2}])

    def test_an_empty_list(self) -> None:
        """An empty repeated output is an empty list."""
        forms: tuple[Any, ...] = ([], lambda response: response.payload.extend([]))
        for value in forms:
            self.assertEqual(answering(value, output_required=('a',), output_repeated=True).value, [])

    def test_what_is_missing_is_named(self) -> None:
        """Required elements that were not set are an error of the service naming all of them."""
        bad = self.assertRaises(BadOutput, answering, {'c': Text}, output_required=('a', 'b', Text('c')))
        self.assertEqual(bad.status, 500)
        self.assertEqual(bad.errors, (('.a', 'missing'), ('.b', 'missing'), ('.c', 'expected str, got type')))
        self.assertIn('$.a: missing; $.b: missing', str(bad))

    def test_nothing_set_at_all(self) -> None:
        """The same applies if the service sets nothing; optional elements are empty then."""
        self.assertRaises(BadOutput, answering, lambda r: None, output_required=('a',))
        self.assertEqual(answering(lambda r: None, output_optional=('a',)).value, {'a': ''})

    def test_missing_in_a_list(self) -> None:
        """Missing elements are reported with the index of their item."""
        bad = self.assertRaises(BadOutput, answering, [{'a': 1}, {}], output_required=('a',), output_repeated=True)
        self.assertEqual(bad.errors, (('[1].a', 'missing'),))

    def test_conversions_on_the_way_out(self) -> None:
        """Types and formats of the declaration apply to output too."""
        value = {'day': dt.date(2026, 2, 1), 'at': dt.datetime(2026, 2, 1, 3), 'n': '5', 'order_id': '6', 'x': None}
        outcome = answering(value, output_required=(Date('day'), 'at', Int('n'), 'order_id', 'x'))
        self.assertEqual(
            outcome.value, {'day': '2026-02-01', 'at': '2026-02-01T03:00:00', 'n': 5, 'order_id': 6, 'x': None}
        )
        outcome = answering(value, output_required=(Date('day'), 'at'), date_time_format='%Y')
        self.assertEqual(outcome.value, {'day': '2026', 'at': '2026'})
        outcome = answering(value, output_required=(Date('day', date_time_format='%m'), 'at'), date_time_format='YYYY')
        self.assertEqual(outcome.value, {'day': '02', 'at': '2026'})

    def test_response_elem(self) -> None:
        """The response element can be renamed or omitted."""
        self.assertEqual(answering({'a': 1}, output_required='a', response_elem='mine').element, 'mine')
        self.assertEqual(answering({'a': 1}, output_required='a', response_elem=None).element, '')

    def test_empty_keys(self) -> None:
        """skip_empty_keys omits empty values, except those in force_empty_keys."""
        sio = {'output_optional': ('a', 'b', 'c'), 'skip_empty_keys': True, 'force_empty_keys': ('b',)}
        self.assertEqual(answering({'a': '', 'c': 0}, **sio).value, {'b': '', 'c': 0})
        sio = {'output_optional': ('a', 'b'), 'skip_empty_keys': ('a',)}
        self.assertEqual(answering({}, **sio).value, {'b': ''})

    def test_text_goes_out_unchanged(self) -> None:
        """Text is sent unchanged and without element, whatever is declared."""
        outcome = answering('<x/>', output_required=('a',))
        self.assertEqual((outcome.element, outcome.value), ('', '<x/>'))

    def test_without_a_declaration(self) -> None:
        """Without a declaration, any value is the response."""
        for value in ({'a': 1}, [1], 'x', b'x', 5, None, Row(1, 2)):
            outcome = answering(value, input_optional='x')
            self.assertEqual((outcome.element, outcome.value), ('', value))
