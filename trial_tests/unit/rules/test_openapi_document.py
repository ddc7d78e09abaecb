"""A whole OpenAPI document: every form of channel and service, compared with `openapi_document.json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.security_sources import source_of
from zatotx.rules.openapi.document_builder import DocumentInfo, build_document
from zatotx.rules.openapi.document_input import (
    ChannelModel,
    ExampleInput,
    InputField,
    JsonSchemaWithComponents,
    ServiceInput,
    ServiceModel,
)
from zatotx.rules.openapi.json_example import REF
from zatotx.rules.openapi.operation_request_description import describe_operation_request

EXPECTED = Path(__file__).with_name('openapi_document.json')
TEXT, NUMBER, FLAG, OBJECT = {'type': 'string'}, {'type': 'integer'}, {'type': 'boolean'}, {'type': 'object'}
DAY = {'type': 'string', 'format': 'date'}
LIST: Any = {'type': 'array', 'items': NUMBER}
PAIRS: Any = {'type': 'array', 'prefixItems': [TEXT, NUMBER], 'items': False}
MAYBE = {'anyOf': [NUMBER, {'type': 'null'}]}
NESTED = {'type': 'array', 'items': LIST}
ENDLESS = {'$ref': f'{REF}Endless'}
COMPONENTS: dict[str, Any] = {
    'Address': {'type': 'object', 'properties': {'street': TEXT, 'tags': LIST}, 'required': ['street']},
    'Endless': {'type': 'object', 'properties': {'next': ENDLESS}, 'required': ['next']},
    'Unused': TEXT,
}
ADDRESS = {'$ref': f'{REF}Address'}
FIELDS = (
    InputField('id', NUMBER, True, NUMBER),
    InputField('day', {'anyOf': [DAY, {'type': 'null'}]}, False, DAY, empty_means_absent=True),
    InputField('name', TEXT, False, TEXT, empty_means_absent=True),
    InputField('flag', FLAG, False, FLAG),
    InputField('codes', LIST, False, LIST, empty_means_absent=True),
    InputField('maybe', MAYBE, False, MAYBE),
    InputField('nested', NESTED, False, NESTED),
    InputField('pairs', PAIRS, False, PAIRS),
    InputField('address', ADDRESS, True, ADDRESS),
    InputField('endless', ENDLESS, False, ENDLESS),
)
OUTPUT = JsonSchemaWithComponents({'type': 'object', 'properties': {'address': ADDRESS, 'more': OBJECT}}, COMPONENTS)


def whole_of(fields: tuple[InputField, ...]) -> JsonSchemaWithComponents:
    return JsonSchemaWithComponents({'type': 'object', 'properties': {f.name: f.schema for f in fields},
                                 'required': [f.name for f in fields if f.required]}, COMPONENTS)  # fmt: skip


def service(*fields: InputField, tried: list[ExampleInput] | None = None, **more: Any) -> ServiceModel:
    def accepts(example: ExampleInput) -> bool:
        if tried is not None:
            tried.append(example)
        return True

    params_only = more.pop('params_only', False)
    declared = ServiceInput(whole=more.pop('whole', None) or whole_of(fields), fields=fields, params_only=params_only,
                            accepts=accepts)  # fmt: skip
    return ServiceModel(name=more.pop('name', 'a.service'), input=declared, **more)


BARE = ServiceModel(name='bare', doc='Does something.\n\n  In detail.  \n')
A_USER = source_of('basic_auth', 'a user', username='u', realm='API')
FILES = {'orders': True, 'logo': False}
CHANNELS = (
    ChannelModel(name='crm.create', path='/create', method='POST', service=service(*FIELDS, output=OUTPUT),
                 data_format='json', has_roles=True, is_limited=True),
    ChannelModel(name='crm.read', path='/{id}/{rest}', method='GET', service=service(*FIELDS, output=OUTPUT),
                 data_format='json', match_slash=True, etag=True, server='https://crm.example.com'),
    ChannelModel(name='crm.update', path='/{key}/{more}', method='PUT',
                 service=service(*FIELDS, error_statuses=(409, 502)), data_format='json', merges_url_params=False),
    ChannelModel(name='crm.part', path='/part/{id}', method='PATCH', service=service(*FIELDS), data_format='json'),
    ChannelModel(name='crm.small', path='/small/{id}', method='POST', service=service(FIELDS[0]), data_format='json'),
    ChannelModel(name='form', path='/form', method='POST', service=service(*FIELDS), data_format='form'),
    ChannelModel(name='form.text', path='/form', method='GET', service=service(*FIELDS[1:5]), data_format='form'),
    ChannelModel(name='raw', path='/raw', method='POST', service=service(*FIELDS[:2], files=FILES)),
    ChannelModel(name='upload', path='/upload', method='POST', data_format='form',
                 service=ServiceModel(name='u', files={'logo': False})),
    ChannelModel(name='uploads', path='/uploads', method='POST', service=ServiceModel(name='u', files={})),
    ChannelModel(name='file', path='/file', method='PUT', service=service(*FIELDS[:2]), data_format='file'),
    ChannelModel(name='file', path='/file', method='GET', service=service(*FIELDS[:2]), data_format='file'),
    ChannelModel(name='params', path='/params', service=service(*FIELDS[:3], params_only=True), data_format='json'),
    ChannelModel(name='list', path='/list', service=service(whole=JsonSchemaWithComponents(LIST)), data_format='json'),
    ChannelModel(name='list.form', path='/list-form', service=service(whole=JsonSchemaWithComponents(LIST))),
    ChannelModel(name='endless', path='/endless', service=service(whole=JsonSchemaWithComponents(ENDLESS, COMPONENTS)),
                 data_format='json'),
    ChannelModel(name='xml.fields', path='/xml', method='POST', data_format='xml',
                 service=service(*FIELDS, output=OUTPUT, request_elem='order', namespace='urn:a')),
    ChannelModel(name='xml.item', path='/xml-item', method='POST', data_format='xml', service=service(
        FIELDS[0], output=JsonSchemaWithComponents({'type': 'object', 'properties': {'r': ADDRESS}}, COMPONENTS),
        element='r')),
    ChannelModel(name='xml.items', path='/xml-items', method='POST', data_format='xml', service=service(
        FIELDS[0], output=JsonSchemaWithComponents({'type': 'object', 'properties': {'r': PAIRS}}), element='r')),
    ChannelModel(name='xml.get', path='/xml-get/{id}', method='GET', data_format='xml', service=service(FIELDS[0])),
    ChannelModel(name='xml.any', path='/xml-any', method='POST', data_format='xml', service=BARE),
    ChannelModel(name='bare', path='/bare/{a}.{b}', service=BARE, data_format='json'),
    ChannelModel(name='bare.form', path='/bare-form', service=BARE, data_format='form'),
    ChannelModel(name='bare.raw', path='/bare-raw', service=BARE),
    ChannelModel(name='bare.get', path='/bare-raw', method='GET', service=BARE),
    ChannelModel(name='verbs', path='/verbs', service=ServiceModel(name='v', verbs=('GET', 'DELETE'))),
    ChannelModel(name='head', path='/head', method='HEAD', service=ServiceModel(name='v', verbs=('GET',)), etag=True),
    ChannelModel(name='no.handler', path='/none', method='PUT', service=ServiceModel(name='v', verbs=('GET',))),
    ChannelModel(name='no.head', path='/none', method='HEAD', service=ServiceModel(name='v', verbs=('PUT',))),
    ChannelModel(name='no.method', path='/none', method='LINK', service=BARE),
    ChannelModel(name='types', path='/types', method='GET', service=ServiceModel(
        name='t', content_types=('text/csv', 'application/atom+xml', 'application/hal+json', '*/*', 'image/png',
                                 'text/event-stream'), has_own_type=True, statuses=(201, 204, 404))),
    ChannelModel(name='one.more.type', path='/types', method='POST', data_format='json',
                 service=ServiceModel(name='t', content_types=('text/csv',))),
    ChannelModel(name='secured', path='/secured', method='DELETE', service=BARE, security=(
        A_USER, source_of('basic_auth', 'a_user', username='u', realm=''), source_of('apikey', 'key', header='X-Key'),
        source_of('tech_account', 'old'), source_of('wss', 'older', username='u'))),
    ChannelModel(name='secured.too', path='/secured-too', method='POST', service=BARE, data_format='json', security=(
        A_USER,)),
)  # fmt: skip


def document() -> dict[str, Any]:
    about = DocumentInfo(title='Title', version='1', server='https://example.com', description='All of it')
    return build_document(about, reversed(CHANNELS))


class WholeDocumentTests(SynchronousTestCase):
    maxDiff = None

    def test_everything(self) -> None:
        """The document is as committed. After an intended change write it again: `python -m
        trial_tests.unit.rules.test_openapi_document`, and read the difference."""
        made, expected = document(), json.loads(EXPECTED.read_text('utf-8'))
        for path, item in made['paths'].items():
            self.assertEqual(json.loads(json.dumps(item)), expected['paths'].get(path), path)
        self.assertEqual(json.loads(json.dumps(made)), expected)
        self.assertEqual([*made['paths']], sorted(made['paths']))
        self.assertEqual([*made['components']['schemas']], sorted(made['components']['schemas']))

    def test_defaults(self) -> None:
        """A document without channels has its server at the root, and no error responses of XML channels."""
        made = build_document(DocumentInfo(title='t', version='1'), ())
        self.assertEqual((made['servers'], made['info']['description']), ([{'url': '/'}], ''))
        self.assertFalse([name for name in made['components']['responses'] if name.endswith('Xml')])
        self.assertNotIn('x-zatotx-left-out', made)


class TriedExampleTests(SynchronousTestCase):
    def tried(self, *fields: InputField, method: str = 'POST', **more: Any) -> tuple[Any, Mapping[str, Any], bool]:
        """Returns what the service's validation gets as the example of a request."""
        found: list[ExampleInput] = []
        whole = more.pop('whole', None)
        channel = ChannelModel(name='c', path='/{id}', service=service(*fields, tried=found, whole=whole), **more)
        describe_operation_request(channel, method)
        (one,) = found
        return one.body, one.text, one.json

    def test_where_its_values_are(self) -> None:
        """Examples are validated as they are sent: body and parameters apart, as text where the format has only
        that."""
        fields = FIELDS[0], FIELDS[1], FIELDS[3]
        day = '2026-01-31'
        self.assertEqual(self.tried(*fields, data_format='json'), ({'day': day, 'flag': True}, {'id': '1'}, True))
        self.assertEqual(self.tried(*fields, data_format='json', merges_url_params=False),
                         ({'id': 1, 'day': day, 'flag': True}, {}, True))
        text = {'id': '1', 'day': day, 'flag': 'true'}
        self.assertEqual(self.tried(*fields, data_format='form'), (None, text, False))
        self.assertEqual(self.tried(*fields, data_format='json', method='GET'), ({}, text, True))
        self.assertEqual(self.tried(data_format='json', whole=JsonSchemaWithComponents(LIST)), ([1], {}, True))

    def test_what_a_query_can_carry(self) -> None:
        """A value with an alternative that is an object, or a list of lists, is in the body of a GET too."""
        null = {'type': 'null'}
        for schema, is_text in (
            ({'anyOf': [OBJECT, null]}, False), ({'oneOf': [OBJECT, TEXT]}, False), ({'anyOf': [TEXT, null]}, True),
            ({'oneOf': [LIST, TEXT]}, True), (NESTED, False), (PAIRS, False), (LIST, True), ({}, True),
        ):  # fmt: skip
            channel = ChannelModel(name='c', path='/c', service=service(InputField('f', schema, True, schema)),
                                   data_format='json')  # fmt: skip
            asked = describe_operation_request(channel, 'GET')
            self.assertEqual((len(asked.params), len(asked.bodies)), (1, 0) if is_text else (0, 1), schema)

    def test_required_fields_alone(self) -> None:
        """If validation rejects the example with all fields, the one with the required fields is tried."""

        def accepts(example: ExampleInput) -> bool:
            return 'day' not in example.body

        declared = ServiceInput(whole=whole_of(FIELDS[:2]), fields=FIELDS[:2], accepts=accepts)
        channel = ChannelModel(name='c', path='/c', service=ServiceModel(name='s', input=declared), data_format='json')
        self.assertEqual(describe_operation_request(channel, 'POST').bodies[0].example, {'id': 1})
        endless = InputField('e', ENDLESS, True, ENDLESS)
        declared = msgspec.structs.replace(declared, whole=whole_of((endless,)), fields=(endless,))
        channel = ChannelModel(name='c', path='/c', service=ServiceModel(name='s', input=declared), data_format='json')
        self.assertIs(describe_operation_request(channel, 'POST').bodies[0].example, msgspec.UNSET)


if __name__ == '__main__':
    EXPECTED.write_text(json.dumps(document(), indent=1, ensure_ascii=False) + '\n', 'utf-8')
    sys.exit()
