"""Tests of the pure parts of OpenAPI documents: examples from schemas and patterns, and the document itself."""

from __future__ import annotations

import datetime as dt
import re
import warnings
from typing import Annotated, Any

import msgspec
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.properties import holds
from trial_tests.support.security_sources import source_of
from zatotx.rules.openapi.component_registry import ERROR, ComponentRegistry, UniqueNames, safe_component_name
from zatotx.rules.openapi.document_builder import (
    DocumentInfo,
    build_document,
    documented_methods,
    operation_tag,
    path_template,
)
from zatotx.rules.openapi.document_input import (
    ChannelModel,
    InputField,
    JsonSchemaWithComponents,
    ServiceInput,
    ServiceModel,
)
from zatotx.rules.openapi.json_example import NoExample, make_example, make_matching_text
from zatotx.rules.openapi.operation_request_description import describe_operation_request, to_text
from zatotx.service.io.model_json_schema import model_schema

REF = '#/components/schemas/'


class Tree(msgspec.Struct):
    name: str
    below: list[Tree] = []


class Endless(msgspec.Struct):
    next: Endless


class Times(msgspec.Struct):
    at: dt.datetime
    naive: Annotated[dt.datetime, msgspec.Meta(tz=False)]
    aware: Annotated[dt.datetime, msgspec.Meta(tz=True)]
    of_day: dt.time
    maybe: dt.datetime | None
    many: list[dt.datetime]
    named: dict[str, dt.datetime | None]


class Odd:
    """A class that is not a model."""


class WithOdd(msgspec.Struct):
    odd: Odd
    text: str = ''


class ExampleTests(SynchronousTestCase):
    def test_bounds(self) -> None:
        """Numbers, texts and lists are within their bounds, including the limits."""
        for schema in (
            {'type': 'integer', 'exclusiveMinimum': 5, 'maximum': 6},
            {'type': 'integer', 'minimum': -9, 'maximum': -7, 'multipleOf': 4},
            {'type': 'integer', 'exclusiveMaximum': -3},
            {'type': 'number', 'exclusiveMinimum': 0.1, 'exclusiveMaximum': 0.2},
            {'type': 'number', 'minimum': 1e6},
        ):
            value = make_example(schema, {})
            self.assertTrue(schema.get('minimum', value) <= value <= schema.get('maximum', value), (schema, value))
            self.assertTrue(schema.get('exclusiveMinimum', value - 1) < value, (schema, value))
            self.assertTrue(schema.get('exclusiveMaximum', value + 1) > value, (schema, value))
            self.assertEqual(value % schema.get('multipleOf', 1) if schema['type'] == 'integer' else 0, 0)
        self.assertEqual(len(make_example({'type': 'string', 'minLength': 30}, {})), 30)
        self.assertEqual(len(make_example({'type': 'string', 'maxLength': 2}, {})), 2)
        self.assertEqual(len(make_example({'type': 'array', 'items': {'type': 'integer'}, 'minItems': 3}, {})), 3)
        self.assertEqual(make_example({'type': 'array', 'maxItems': 0}, {}), [])

    def test_what_is_said_counts(self) -> None:
        """An explicit example, a default, a constant and the first value of an enumeration are used."""
        for schema, expected in (
            ({'type': 'string', 'examples': ['Ann']}, 'Ann'),
            ({'type': 'integer', 'default': 7}, 7),
            ({'const': None}, None),
            ({'enum': ['a', 'b']}, 'a'),
            ({'anyOf': [{'type': 'null'}, {'type': 'boolean'}]}, True),
            ({'type': ['integer', 'null']}, 1),
            ({'type': 'array', 'prefixItems': [{'type': 'integer'}, {'type': 'string'}], 'items': False}, [1, 'text']),
            ({'type': 'object', 'additionalProperties': {'const': 2}, 'minProperties': 2}, {'key1': 2, 'key2': 2}),
        ):
            self.assertEqual(make_example(schema, {}), expected)

    def test_models_that_hold_themselves(self) -> None:
        """Examples of recursive models end if possible; otherwise there is no example."""
        schema, components = model_schema(Tree)
        self.assertEqual(make_example(schema, components), {'name': 'text', 'below': []})
        schema, components = model_schema(Endless)
        with self.assertRaises(NoExample):
            make_example(schema, components)

    def test_there_is_none(self) -> None:
        """Contradictory schemas have no example."""
        for schema in (
            {'type': 'integer', 'exclusiveMinimum': 1, 'exclusiveMaximum': 2},
            {'type': 'string', 'pattern': '^a$', 'minLength': 2},
            {'type': 'array', 'items': {'type': 'boolean'}, 'minItems': 3, 'uniqueItems': True},
            {'type': 'string', 'pattern': '^(?=a)b'},
            {'type': 'string', 'pattern': '((a{1000}){1000}){1000}'},
        ):
            with self.assertRaises(NoExample):
                make_example(schema, {})

    def test_dates_of_models(self) -> None:
        """A date-time has its format wherever it occurs; one without offset has an example without it."""
        schema, components = model_schema(Times)
        value = make_example(schema, components)
        msgspec.convert(value, Times)
        properties = components['Times']['properties']
        self.assertEqual(properties['many']['items']['format'], 'date-time')
        self.assertNotIn('format', properties['naive'])

    def test_classes_that_are_no_models(self) -> None:
        """Unknown classes are documented as any value; the rest of the model is described."""
        _, components = model_schema(WithOdd)
        self.assertEqual(components['WithOdd']['properties']['text']['type'], 'string')


class PatternTests(SynchronousTestCase):
    def test_patterns(self) -> None:
        """Typical patterns have a matching example."""
        for pattern in ('^[A-Z]{2}-[0-9]{3,5}$', r'\d+|x', '^(foo|bar)?$', '[^a-zA-Z]{4}', r'^\S+@\S+\.\w{2,}$', '^a*$',
                        r'^[^\d\s]$', '(?i)abc', '^.{3}$', r'\bword\b', 'x{0}', '(?:a(b(c)))'):  # fmt: skip
            self.assertTrue(re.search(pattern, make_matching_text(pattern)), pattern)

    @holds(pattern=st.from_regex(r'[a-c0-9\[\](){}|*+?^.\\$-]{0,12}', fullmatch=True))
    def test_any_text_as_a_pattern(self, pattern: str) -> None:
        """Any text as a pattern gives a matching text or NoExample."""
        with warnings.catch_warnings(action='ignore', category=FutureWarning):  # '[[', which may mean more one day
            try:
                found = make_matching_text(pattern)
            except NoExample:
                return
            self.assertTrue(re.search(pattern, found))


def service(*fields: InputField, accepts: bool = True, **more: Any) -> ServiceModel:
    whole = JsonSchemaWithComponents({'type': 'object', 'properties': {f.name: f.schema for f in fields}})
    return ServiceModel(name='s', input=ServiceInput(whole=whole, fields=fields, accepts=lambda tried: accepts), **more)


TEXT, OBJECT = {'type': 'string'}, {'type': 'object'}


class DocumentTests(SynchronousTestCase):
    def test_methods(self) -> None:
        """A channel without a method is documented once, with a free method of its path, or with its service's
        verbs."""
        plain = ChannelModel(name='a', path='/a', service=ServiceModel(name='s'), data_format='json')
        self.assertEqual(documented_methods(plain, {}), (['POST'], ''))
        self.assertEqual(documented_methods(plain, {'post': 1}), (['GET'], ''))
        verbs = msgspec.structs.replace(plain, service=ServiceModel(name='s', verbs=('DELETE', 'GET')))
        self.assertEqual(documented_methods(verbs, {'get': 1}), (['DELETE'], ''))
        self.assertEqual(documented_methods(verbs, {'get': 1, 'delete': 1})[0], [])
        by_path = ChannelModel(name='a', path='/a/{x}', service=service(InputField('x', TEXT, True, TEXT)))
        self.assertEqual(documented_methods(by_path, {}), (['GET'], ''))
        full = dict.fromkeys(('get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace'))
        self.assertIn('other channels', documented_methods(plain, full)[1])

    def test_words(self) -> None:
        """Templates, tags and component names have the forms that OpenAPI requires."""
        self.assertEqual(path_template('/ä b/{x:path}.{y}'), '/%C3%A4%20b/{x}.{y}')
        self.assertEqual([operation_tag(name) for name in ('crm.get', 'crm', '.x')], ['crm', 'others', 'others'])
        self.assertEqual((safe_component_name('a b/ü'), safe_component_name('')), ('a_b__', '_'))
        names = UniqueNames()
        self.assertEqual([names.new('a') for _ in range(3)], ['a', 'a_2', 'a_3'])

    def test_components(self) -> None:
        """Identical schemas are registered once; different schemas with the same name get distinct names; reserved
        names are never used."""
        components = ComponentRegistry()
        first = components.register(
            JsonSchemaWithComponents({'$ref': f'{REF}A'}, {'A': {'x': {'$ref': f'{REF}B'}}, 'B': TEXT})
        )
        again = components.register(
            JsonSchemaWithComponents({'$ref': f'{REF}A'}, {'A': {'x': {'$ref': f'{REF}B'}}, 'B': TEXT})
        )
        other = components.register(
            JsonSchemaWithComponents({'$ref': f'{REF}A'}, {'A': {'x': {'$ref': f'{REF}B'}}, 'B': OBJECT})
        )
        self.assertEqual([one['$ref'] for one in (first, again, other)], [f'{REF}A', f'{REF}A', f'{REF}A_2'])
        self.assertEqual(components.schemas['A_2'], {'title': 'A_2', 'x': {'$ref': f'{REF}B_2'}})
        mine = components.register(JsonSchemaWithComponents({'$ref': f'{REF}{ERROR}'}, {ERROR: TEXT}))
        self.assertEqual(mine, {'$ref': f'{REF}{ERROR}_2'})

    def test_examples_only_where_they_are_taken(self) -> None:
        """An example that input validation rejects is omitted; a service that reads parameters only has no body."""
        fields = (InputField('a', TEXT, True, TEXT), InputField('b', OBJECT, False, OBJECT))
        channel = ChannelModel(name='c', path='/c', service=service(*fields, accepts=False), data_format='json')
        asked = describe_operation_request(channel, 'POST')
        assert asked.bodies
        self.assertIs(asked.bodies[0].example, msgspec.UNSET)
        taken = describe_operation_request(msgspec.structs.replace(channel, service=service(*fields)), 'POST')
        assert taken.bodies
        self.assertEqual(taken.bodies[0].example['a'], 'text')
        got = describe_operation_request(msgspec.structs.replace(channel, service=service(*fields)), 'GET')
        self.assertEqual([(p.name, p.location) for p in got.params], [('a', 'query')])
        assert channel.service.input is not None
        only = msgspec.structs.replace(channel.service.input, params_only=True)
        params = describe_operation_request(
            msgspec.structs.replace(channel, service=ServiceModel(name='s', input=only)), 'POST'
        )
        self.assertEqual(([p.location for p in params.params], params.bodies), (['query', 'query'], ()))

    def test_text_of_values(self) -> None:
        """Values have their form in query and form."""
        values = 'a', True, 1.5, None, [1, 'b']
        self.assertEqual([to_text(one) for one in values], ['a', 'true', '1.5', '', ['1', 'b']])

    def test_security_without_words(self) -> None:
        """A definition type without a security scheme is mentioned in the description."""
        accepted = (source_of('tech_account', 'old'),)
        channel = ChannelModel(name='c', path='/c', service=ServiceModel(name='s'), security=accepted)
        made = build_document(DocumentInfo(title='t', version='1'), [channel])
        operation = made['paths']['/c']['post']
        self.assertEqual(operation['security'], [])
        self.assertIn("Protected by 'old' (tech_account).", operation['description'])
        self.assertIn('401', operation['responses'])

    def test_any_of_several_logins(self) -> None:
        """Each type is described by OpenAPI's terms, with one scheme per definition however many channels use it."""
        accepted = (
            source_of('basic_auth', 'user', username='user', realm='API'),
            source_of('apikey', 'key', header='X-Key'),
            source_of('apikey', 'link', query='key'),
            source_of('jwt', 'idp', algorithms=[]),
            source_of('mtls', 'card'),
        )
        channels = [ChannelModel(name=f'c{n}', path=f'/c{n}', service=ServiceModel(name='s'), security=accepted)
                    for n in range(2)]
        made = build_document(DocumentInfo(title='t', version='1'), channels)
        for item in made['paths'].values():
            self.assertEqual(item['post']['security'], [{one.name: []} for one in accepted])
        schemes = made['components']['securitySchemes']
        self.assertEqual({name: [scheme.get(key) for key in ('type', 'scheme', 'in', 'name')]
                          for name, scheme in schemes.items()}, {
            'user': ['http', 'basic', None, None], 'key': ['apiKey', None, 'header', 'X-Key'],
            'link': ['apiKey', None, 'query', 'key'], 'idp': ['http', 'bearer', None, None],
            'card': ['mutualTLS', None, None, None],
        })  # fmt: skip

    def test_many(self) -> None:
        """A document of 500 channels has 500 operations with unique ids."""
        channels = [ChannelModel(name='c', path=f'/c/{n}', service=ServiceModel(name='s')) for n in range(500)]
        made = build_document(DocumentInfo(title='t', version='1'), channels)
        ids = {operation['operationId'] for item in made['paths'].values() for operation in item.values()}
        self.assertEqual((len(made['paths']), len(ids)), (500, 500))
