"""What the OpenAPI document says of fields, uploads, answers and limits is what the reader and the writer do: the pure
parts, without a server."""

from __future__ import annotations

import datetime as dt
import decimal
from http import HTTPStatus
from typing import Annotated, Any, Literal

import msgspec
from jsonschema_rs import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.security_sources import source_of
from zatotx import (
    CSV,
    UTC,
    UUID,
    AsIs,
    Bool,
    Conflict,
    Date,
    DateTime,
    Decimal,
    Dict,
    DictList,
    Event,
    Float,
    Int,
    List,
    Secret,
    Service,
    Text,
)
from zatotx.model import errors
from zatotx.model.errors import BadInput
from zatotx.rules.openapi.document_builder import DocumentInfo, build_document, documented_error_statuses
from zatotx.rules.openapi.document_input import ChannelModel
from zatotx.service.io.declaration_reader import read_io_declaration
from zatotx.service.io.json_schema import field_input_schema, openapi_service_shape, output_schema, text_input_schema
from zatotx.service.io.model_json_schema import model_schema
from zatotx.service.io.record_elements import DeclaredField, UntypedElement
from zatotx.service.io.typed_models import convert_to_type
from zatotx.service.io.validation_error import ValidationError
from zatotx.service.request_files import MissingFile, UploadedFiles
from zatotx.service.service_entry import ServiceEntry
from zatotx.service.source_analysis import analyze_source

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, -5, 1.0, 1.5, 1e300, '', 'x', 'yes', 'Off', '0', '1', '-7', '+7', '7.0', '7.5', '.5',
    '1e3', 'true', 'null', '2026-01-31', 'a,b', [], [1], ['a', None], [{'a': 1}], [{'b': '1'}], {}, {'a': 1},
    {'a': 1, 'b': 'x'}, {'a': 1, 'b': 2.0}, {'a': None},
)  # fmt: skip
ELEMENTS = (UntypedElement, AsIs, Text, Secret, UTC, Int, Float, Bool, Decimal, CSV, List, Dict, DictList)


def made(kind: type, name: str) -> Any:
    return kind(name, 'a', Int('-b')) if kind in (Dict, DictList) else kind(name)


def takes(schema: Any, value: Any) -> bool:
    return Draft202012Validator(schema, validate_formats=True).is_valid(value)


class ElementTests(SynchronousTestCase):
    def test_what_is_taken(self) -> None:
        """The schema of every element, required and optional, with each value of allow_empty_required, takes what the
        element takes, and nothing else."""
        for kind in ELEMENTS:
            for required in (True, False):
                for strict in (None, True, False):
                    field = DeclaredField(made(kind, 'x'), required=required)
                    field.strict_empty = strict
                    schema = field_input_schema(field)
                    for value in VALUES:
                        said = kind, required, strict, value
                        self.assertEqual(takes(schema, value), self.taken(field, value), said)

    def test_what_is_taken_as_text(self) -> None:
        """The same for texts of path, query and form: numbers, texts, lists where a name may be repeated."""
        for kind in (UntypedElement, AsIs, Text, Int, Float, Bool, Decimal, CSV, List):
            field = DeclaredField(made(kind, 'x'), required=True)
            schema = text_input_schema(field)
            for value in ('x', 'yes', '0', '-7', '7.0', '7.5', ['a', 'b']):
                told = any(takes(schema, one) for one in _as_client(value, schema))
                self.assertEqual(told, self.taken(field, value, text=True), (kind, value))

    def taken(self, field: DeclaredField, value: Any, *, text: bool = False) -> bool:
        try:
            field.take(value, text=text)
        except ValidationError:
            return False
        return True

    def test_every_name_has_a_type(self) -> None:
        """Plain names too: a text in a URL, anything but null in JSON."""
        field = DeclaredField('name')
        self.assertEqual(text_input_schema(field), {'type': 'string'})
        self.assertEqual(field_input_schema(field), {'type': ['string', 'number', 'boolean', 'object', 'array']})
        self.assertIn('null', field_input_schema(DeclaredField('-name'))['type'])

    def test_what_was_not_set(self) -> None:
        """An optional date, decimal or UUID is null, a text `''`, a number what stands in for it; a default of the
        service's own goes out as it is. All as the schema says, skip_empty_keys included."""
        fields = ('plain', Text('text'), CSV('csv'), Int('n'), Bool('flag'), Date('day'), DateTime('at'),
                  Decimal('price'), UUID('ref'), Dict('where', Date('-since'), Int('-floor')))  # fmt: skip
        for more, expected in (
            ({}, {'plain': '', 'text': '', 'csv': '', 'n': '', 'flag': '', 'day': None, 'at': None, 'price': None,
                  'ref': None, 'where': ''}),
            ({'default_value': 0}, dict.fromkeys(('plain', 'text', 'csv', 'n', 'flag', 'day', 'at', 'price', 'ref',
                                                  'where'), 0)),
            ({'skip_empty_keys': True}, {}),
        ):  # fmt: skip
            sio = type('SimpleIO', (), {'output_optional': fields, **more})
            output: Any = read_io_declaration(type('Answers', (), {'SimpleIO': sio}))
            given = output.output.write({})
            self.assertEqual(given, expected)
            schema = output_schema(output.output)
            self.assertTrue(takes(schema, given), more)
            where = output.output.write({'where': {}})
            self.assertTrue(takes(schema, where), where)
            self.assertFalse(takes(schema, {**expected, 'day': ''}), 'no date')
        self.assertEqual(where, {'where': {'since': None, 'floor': ''}})
        own = DeclaredField(Date('-day', default='never'))
        self.assertEqual(own.output_default(), 'never')


def _as_client(value: Any, schema: Any) -> list[Any]:
    """What a text may be to who reads it by the schema."""
    if isinstance(value, list):
        return [value]
    found = [value, [value]] if schema.get('type') == 'array' else [value]
    try:
        return [*found, msgspec.json.decode(value)]
    except msgspec.DecodeError:
        return found


class Item(msgspec.Struct, frozen=True):
    sku: str
    default: int = 1


class Model(msgspec.Struct):
    n: int = 0
    price: decimal.Decimal = decimal.Decimal(0)
    token: bytes = b''
    codes: set[int] = set()
    lasts: dt.timedelta = dt.timedelta()
    ranks: dict[int, str] = {}
    step: Literal[1, 2] = 1
    few: Annotated[int, msgspec.Meta(ge=1, le=3)] = 1
    item: Item = Item('a')
    uniqueItems: list[int] = []


class ModelTests(SynchronousTestCase):
    def test_what_is_taken(self) -> None:
        """The schema of a model takes what msgspec takes, and nothing else, where msgspec's own says more or less: 1.0,
        decimals as numbers, repeated values of sets, base64 cut short, durations, mappings by number."""
        schema, components = model_schema(Model)
        whole = {**schema, 'components': {'schemas': components}}
        for name, values in {
            'n': (1, 1.0, 1.5, True, '1', None, 2**70), 'few': (1.0, 3, 4, 4.0), 'step': (1, 2.0, 3, '1'),
            'price': (1, 1.5, '1.50', '-1e3', '', 'x', None, True), 'token': ('', 'YQ==', 'YWJj', 'YQ', 'a', 1),
            'codes': ([1, 1], [1.0, 2], ['a'], {}), 'ranks': ({'1': 'a'}, {'-1': 'a'}, {'a': 'a'}, {'1': 1}),
            'lasts': ('P1D', 'P1DT2H', 'PT1.5S', '-P1D', 'P1Y', 'P1M', 'P', 'PT', 'P1DT', '', 1),
            'item': ({'sku': 'a', 'default': 2.0}, {'default': 1}, {'sku': 'a', 'default': 'x'}),
            'uniqueItems': ([1, 1], ['a']),
        }.items():  # fmt: skip
            for value in values:
                self.assertEqual(takes(whole, {name: value}), self.taken({name: value}), (name, value))

    def taken(self, value: Any) -> bool:
        try:
            convert_to_type(value, Model)
        except ValidationError:
            return False
        return True


class Upload(Service):
    name = 'up.load'
    input = Int('year'), '-note'

    async def handle(self) -> None:
        size = self.request.files['orders'].size
        if 'logo' in self.request.files:
            size += self.request.files['logo'].size
        more = self.request.files.get('more')
        self.response.payload = {'size': size, 'more': more is not None}


class Stream(Service):
    name = 'out.stream'

    async def handle(self) -> None:
        self.response.stream(self.request.payload, 'text/csv; charset=utf-8')

    def other(self) -> None:
        self.response.stream(self.request.payload)


class Watch(Service):
    name = 'out.events'

    async def handle(self) -> None:
        self.response.events([Event('a')])


class Varied(Service):
    name = 'out.varied'
    output = 'name'

    async def handle(self) -> None:
        if self.request.payload:
            raise Conflict(self.cid, 'Taken')
        if self.request.raw_request:
            raise errors.Forbidden
        await self.out.rest['CRM'].get()
        self.response.status_code = HTTPStatus.CREATED
        self.response.status_code = 204
        self.response.payload = {'name': 'a'}


class Page(Service):
    name = 'out.page'

    async def handle(self) -> None:
        self.response.content_type = 'text/html'
        self.response.payload = '<p/>'

    def variable(self, content_type: str) -> None:
        self.response.content_type = content_type


def told(cls: type, method: str = 'POST', **channel: Any) -> dict[str, Any]:
    """The operation of a channel to that service."""
    made = build_document(DocumentInfo(title='t', version='1'), [
        ChannelModel(**{'name': 'c', 'path': '/c', 'method': method, 'data_format': 'json', **channel},
                service=openapi_service_shape(ServiceEntry.for_class(cls)))])  # fmt: skip
    operation: dict[str, Any] = made['paths']['/c'][method.lower()]
    return operation


class OperationTests(SynchronousTestCase):
    def test_uploads(self) -> None:
        """A service that reads files by name takes a form with them, and must have those that it looks up without a
        question; the rest of its input stands beside them."""
        self.assertEqual(analyze_source(Upload, Service).files, {'orders': True, 'logo': False, 'more': False})
        for data_format in ('json', 'form', ''):
            content = told(Upload, data_format=data_format)['requestBody']['content']
            self.assertEqual([*content], ['multipart/form-data'])
            schema = content['multipart/form-data']['schema']
            self.assertEqual(schema['required'], ['year', 'orders'])
            self.assertEqual(schema['properties']['orders'], {'type': 'string', 'format': 'binary'})
            self.assertEqual(schema['properties']['year'], {'type': 'integer'})
        self.assertEqual([*told(Upload, data_format='xml')['requestBody']['content']], ['application/xml'])

    def test_files(self) -> None:
        """A body that is one file is binary, and what else is declared comes in the query."""
        operation = told(Upload, 'PUT', data_format='file')
        self.assertFalse(operation['requestBody']['required'])
        self.assertEqual(operation['requestBody']['content'],
                         {'application/octet-stream': {'schema': {'type': 'string', 'format': 'binary'}}})
        self.assertEqual([one['name'] for one in operation['parameters']], ['year', 'note'])

    def test_content_types(self) -> None:
        """Those that the service names: of streams, events and whole answers; else JSON."""
        for cls, expected in ((Stream, ['text/csv', 'application/octet-stream']), (Watch, ['text/event-stream']),
                              (Page, ['text/html', '*/*']), (Varied, ['application/json'])):  # fmt: skip
            self.assertEqual([*told(cls)['responses']['200']['content']], expected)
        free = told(Upload, data_format='')['responses']['200']['content']
        self.assertEqual([*free], ['application/json', 'text/plain', 'application/octet-stream'])

    def test_statuses(self) -> None:
        """Those that the service sets and raises, 502 where it calls other systems, 304 where the channel has ETags."""
        found = told(Varied)['responses']
        self.assertLessEqual({'200', '201', '204', '403', '409', '413', '415', '502'}, found.keys())
        self.assertNotIn('content', found['204'])
        self.assertEqual(found['409'], {'$ref': '#/components/responses/Conflict'})
        self.assertNotIn('409', told(Stream)['responses'])
        self.assertNotIn('304', told(Stream, 'GET')['responses'])
        self.assertIn('304', told(Stream, 'GET', etag=True)['responses'])

    def test_limits(self) -> None:
        """429 on every channel that has limits, with or without a login; 403 where a role is needed."""
        channel = ChannelModel(name='c', path='/c', service=openapi_service_shape(ServiceEntry.for_class(Stream)))
        user = (source_of('basic_auth', 'u', username='u'),)
        for more, limited in (({}, False), ({'is_limited': True}, True), ({'security': user}, True)):
            found = documented_error_statuses(msgspec.structs.replace(channel, **more), 'GET')
            self.assertEqual(429 in found, limited, more)
        self.assertIn(403, documented_error_statuses(msgspec.structs.replace(channel, has_roles=True), 'GET'))

    def test_titles(self) -> None:
        """Each schema has its own, which is its name."""

        class Other(Service):
            name = 'other'
            input = msgspec.defstruct('Item', [('title', str)])

            async def handle(self) -> None:
                self.response.payload = {}

        class Takes(Service):
            name = 'takes'
            input = Item
            output = Item

            async def handle(self) -> None:
                self.response.payload = self.request.input

        shapes = [openapi_service_shape(ServiceEntry.for_class(cls)) for cls in (Takes, Other)]
        channels = [
            ChannelModel(name=f'c{n}{kind}', path=f'/c{n}{kind}', method='POST', data_format=kind, service=shape)
            for n, shape in enumerate(shapes)
            for kind in ('json', 'xml')
        ]
        schemas = build_document(DocumentInfo(title='t', version='1'), channels)['components']['schemas']
        self.assertLessEqual({'Item', 'Item_2'}, schemas.keys())
        self.assertEqual({name: schema['title'] for name, schema in schemas.items()}, {name: name for name in schemas})

    def test_a_missing_upload(self) -> None:
        """One that a service takes by its name is a mistake of the caller's, and a KeyError to the service."""
        files = UploadedFiles(())
        bad = self.assertRaises(MissingFile, lambda: files['orders'])
        self.assertIsInstance(bad, BadInput)
        self.assertIsInstance(bad, KeyError)
        self.assertEqual((bad.status, bad.details, files.get('orders')), (400, 'orders: missing', None))
