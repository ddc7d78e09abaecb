"""The OpenAPI document of a real server: valid, complete, and its examples are taken by that very server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

import yaml
from lxml import etree
from openapi_spec_validator import OpenAPIV31SpecValidator
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker, create, remove
from trial_tests.support.documented import PASSWORD, SECURED, USER, documented
from trial_tests.support.rawhttp import Answer, basic
from zatotx.model.errors import StartError
from zatotx.plugins.http.server.route_table import BUILTIN_ENDPOINTS, enabled_endpoints
from zatotx.plugins.http.settings import read_settings

JSON, XML, FORM = 'application/json', 'application/xml', 'application/x-www-form-urlencoded'


def operations(api: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation, one after the other."""
    for path, item in api['paths'].items():
        for method, operation in item.items():
            yield path, method, operation


def as_text(value: Any) -> Any:
    """A value of an example as a URL or form carries it."""
    return value if isinstance(value, str) else json.dumps(value)


class OpenAPITestCase(SynchronousTestCase):
    broker: ClassVar[Broker]
    api: ClassVar[dict[str, Any]]

    def setUp(self) -> None:
        type(self).broker = documented()
        type(self).api = self.broker.ask('GET', '/zato/openapi.json').json()

    def operation(self, name: str) -> tuple[str, str, dict[str, Any]]:
        """The one of that operationId."""
        (found,) = (one for one in operations(self.api) if one[2]['operationId'] == name)
        return found

    def schema(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api['components']['schemas'][name]
        return found


class DocumentTests(OpenAPITestCase):
    def test_valid(self) -> None:
        """openapi-spec-validator finds nothing in it."""
        self.assertEqual([str(error) for error in OpenAPIV31SpecValidator(self.api).iter_errors()], [])
        self.assertEqual(self.api['openapi'], '3.1.0')

    def test_operations(self) -> None:
        """Every active channel is there under its name, each id once; a service with verbs has an operation a verb."""
        names = [operation['operationId'] for _, _, operation in operations(self.api)]
        self.assertEqual(len(names), len(set(names)))
        wanted = {'shop.order', 'shop.order.by-id', 'shop.customer', 'shop.find', 'shop.find.form', 'shop.many',
                  'shop.classic', 'shop.listing', 'shop.short', 'shop.short.raw', 'shop.item', 'shop.item_2',
                  'shop.tree', 'shop.free', 'shop.free.json', 'shop.checked', 'library', 'shop.unmerged'}  # fmt: skip
        self.assertEqual({name for name in names if name.startswith(('shop.', 'library'))}, wanted)
        self.assertEqual({m for _, m, one in operations(self.api) if one['operationId'].startswith('shop.item')},
                         {'get', 'delete'})

    def test_left_out(self) -> None:
        """Inactive channels are not told of; one that OpenAPI has no words for is, in a sentence with its reason."""
        self.assertNotIn('/off', self.api['paths'])
        self.assertEqual(self.api['x-zatotx-left-out'], [
            'shop.odd: OpenAPI has no method PROPFIND',
            'shop.verbless: its service shop.item has no handle_POST',
        ])

    def test_texts(self) -> None:
        """Docstrings are summary and description, tags the first part of the names; a channel without a method says
        so."""
        _, _, place = self.operation('shop.order')
        self.assertEqual((place['summary'], place['tags']), ('Places an order.', ['shop']))
        self.assertIn('`items` must hold something', place['description'])
        self.assertEqual(self.operation('library')[2]['tags'], ['others'])
        self.assertIn('Every method leads here.', self.operation('shop.short')[2]['description'])

    def test_paths(self) -> None:
        """{name:path} is a parameter that may hold slashes, other text is percent-encoded, and two channels whose
        paths differ in a parameter's name alone share one path."""
        path, _, tree = self.operation('shop.tree')
        self.assertEqual((path, tree['parameters'][0]['description']), ('/tree/{rest}', 'May hold slashes.'))
        self.assertEqual(self.operation('shop.free')[0], '/frei/gr%C3%BCn/{x}')
        path, method, library = self.operation('library')
        self.assertEqual((path, method), (self.operation('shop.item')[0], 'patch'))
        self.assertEqual(library['parameters'][0]['name'], path.partition('{')[2].partition('}')[0])

    def test_models(self) -> None:
        """A model has its name, constraints, nested models, dates and unions; the same one is there once, and another
        of the same name beside it."""
        order = self.schema('Order')
        self.assertEqual(order['properties']['weight'], {'type': 'number', 'minimum': 0.5, 'exclusiveMaximum': 2})
        self.assertEqual(order['properties']['made'], {'type': 'string', 'format': 'date-time'})
        self.assertEqual(order['properties']['items']['minItems'], 1)
        self.assertEqual(order['properties']['pay']['discriminator']['propertyName'], 'type')
        self.assertEqual(self.schema('Colour')['enum'], ['blue', 'red'])
        self.assertEqual(self.schema('Customer')['required'], ['name', 'address'])
        self.assertEqual({self.schema(name)['description'] for name in ('Item', 'Item_2')},
                         {'One line of an order.', 'Quite another thing.'})
        _, _, place = self.operation('shop.order')
        self.assertEqual(place['requestBody']['content'][JSON]['schema'], {'$ref': '#/components/schemas/Order'})
        self.assertEqual(place['responses']['200']['content'][JSON]['schema'], {'$ref': '#/components/schemas/Order'})

    def test_elements(self) -> None:
        """SimpleIO and short form: each element has its type, names say theirs, what is optional is not required."""
        found = self.schema('shop.classic.input')
        self.assertEqual(found['required'], ['customer_id', 'price', 'day', 'where', 'lines', 'ref', 'seen'])
        whole = {name: one.get('anyOf', [one])[0] for name, one in found['properties'].items()}
        kinds = {name: one.get('format') or one.get('type') or one['anyOf'][0]['type'] for name, one in whole.items()}
        texts = ['string', 'number', 'boolean']
        self.assertEqual(kinds, {
            'customer_id': ['integer', 'string'], 'price': 'decimal', 'day': 'date', 'where': 'object',
            'lines': 'array', 'ref': 'uuid', 'seen': texts, 'codes': ['string', 'array', 'null'],
            'share': ['number', 'string'], 'urgent': 'boolean', 'at': 'string', 'pin': 'password',
            'said': [*texts, 'null'], 'is_new': 'boolean', 'extra': [*texts, 'object', 'array', 'null'],
        })  # fmt: skip
        self.assertEqual(found['properties']['where']['required'], ['city'])
        self.assertEqual(found['properties']['lines']['items']['properties']['qty']['type'], ['integer', 'string'])

    def test_response_elements(self) -> None:
        """Classic SimpleIO answers inside its element, a list where it is repeated; the others answer bare."""
        answer = self.answer('shop.classic')
        self.assertEqual(answer['required'], ['receipt'])
        self.assertEqual(answer['properties']['receipt'], {'$ref': '#/components/schemas/shop.classic.output'})
        self.assertEqual(self.answer('shop.listing')['properties']['response']['type'], 'array')
        self.assertEqual(self.answer('shop.short'), {'$ref': '#/components/schemas/shop.short.output'})
        self.assertEqual(self.answer('shop.customer')['items'], {'$ref': '#/components/schemas/Customer'})
        left = self.schema('shop.classic.output')['properties']['left']
        self.assertEqual(left, {'anyOf': [{'type': ['integer', 'null']}, {'const': ''}]})

    def answer(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.operation(name)[2]['responses']['200']['content'][JSON]['schema']
        return found

    def test_where_input_stands(self) -> None:
        """Path and query carry what a method without a body takes, bodies the rest, forms where the channel has them;
        a channel that does not merge takes all in the body."""
        self.assertEqual([p['in'] for p in self.operation('shop.find')[2]['parameters']], ['query'] * 5)
        self.assertNotIn('requestBody', self.operation('shop.find')[2])
        self.assertIn(FORM, self.operation('shop.find.form')[2]['requestBody']['content'])
        self.assertIn(FORM, self.operation('shop.short.raw')[2]['requestBody']['content'])
        body = self.operation('shop.order.by-id')[2]['requestBody']['content'][JSON]['schema']
        self.assertNotIn('id', body['properties'])
        self.assertIn('name', self.operation('shop.unmerged')[2]['requestBody']['content'][JSON]['example'])

    def test_security(self) -> None:
        """A secured channel names its scheme and has 401 and 429, an open one has neither; no username is told."""
        for path, method, operation in operations(self.api):
            secured = operation['operationId'] in SECURED
            self.assertEqual(operation['security'], [{USER: []}] if secured else [], (path, method))
            self.assertEqual('401' in operation['responses'], secured)
        scheme = self.api['components']['securitySchemes'][USER]
        self.assertEqual((scheme['type'], scheme['scheme']), ('http', 'basic'))
        self.assertNotIn(PASSWORD, json.dumps(self.api, ensure_ascii=False))

    def test_faults(self) -> None:
        """Every operation has the errors of the contract in their form, every answer X-Zato-CID."""
        for _, _, operation in operations(self.api):
            self.assertLessEqual({'200', '400', '404', '405', '500', '503', '504'}, operation['responses'].keys())
            self.assertIn('X-Zato-CID', operation['responses']['200']['headers'])
        for name, answer in self.api['components']['responses'].items():
            self.assertIn('X-Zato-CID', answer['headers'], name)
            kind, schema = (XML, 'ZatoErrorXml') if name.endswith('Xml') else (JSON, 'ZatoError')
            self.assertEqual(answer['content'][kind]['schema'], {'$ref': f'#/components/schemas/{schema}'})


class ExampleTests(OpenAPITestCase):
    """What the document shows is what the server takes."""

    def test_examples_are_taken(self) -> None:
        """Every operation with an example is called with it, over the network, and answers 2xx."""
        called = set()
        for path, method, operation in operations(self.api):
            if self.has_examples(operation):
                called.add(operation['operationId'])
                answer = self.call(path, method, operation)
                self.assertEqual(answer.status, 200, (operation['operationId'], answer.body))
        every = {operation['operationId'] for _, _, operation in operations(self.api)}
        # No value that Checked takes can be known, what Free takes nobody has said.
        self.assertEqual(every - called - {'late.one', 'public.one'},
                         {'shop.checked', 'shop.free', 'shop.free.json'})

    def test_examples_fit_their_schemas(self) -> None:
        """An answer's example has the names of its schema, and the real answer has them too."""
        path, method, operation = self.operation('shop.classic')
        answer = self.call(path, method, operation).json()
        example = operation['responses']['200']['content'][JSON]['example']
        self.assertEqual(set(answer['receipt']), set(example['receipt']))

    def test_documents_of_xml(self) -> None:
        """Requests and answers of XML channels are documents, with the elements that the schemas name; errors too."""
        path, method, order = self.operation('xml.order')
        self.assertEqual([*order['requestBody']['content']], [XML])
        asked = etree.fromstring(order['requestBody']['content'][XML]['example'])
        schema = order['requestBody']['content'][XML]['schema']
        self.assertEqual((asked.tag, schema['xml']), ('request', {'name': 'request'}))
        answer = order['responses']['200']['content'][XML]
        self.assertEqual(self.tags(self.call(path, method, order).body), self.tags(answer['example'].encode()))
        for name in ('xml.customer', 'xml.listing'):
            path, method, operation = self.operation(name)
            real = self.tags(self.call(path, method, operation).body)
            shown = self.tags(operation['responses']['200']['content'][XML]['example'].encode())
            self.assertLessEqual(shown, real, name)
        refused = self.broker.ask('POST', '/xml/orders', body=b'<x/>')
        self.assertEqual((refused.status, self.tags(refused.body)), (400, {'error', 'error/cid', 'error/details'}))
        self.assertEqual(order['responses']['400'], {'$ref': '#/components/responses/BadRequestXml'})

    def tags(self, document: bytes) -> set[str]:
        """The paths of all elements."""
        root = etree.fromstring(document)
        tree = root.getroottree()
        return {re.sub(r'\[\d+\]', '', tree.getpath(one)).lstrip('/') for one in root.iter()}

    def test_faults_are_as_documented(self) -> None:
        """A request that is wrong meets the error that the document tells of."""
        known = self.api['components']['schemas']['ZatoError']['properties']['zato_env']['required']
        answer = self.broker.ask('POST', '/orders', body=b'{}', fields=basic(USER, PASSWORD))
        self.assertEqual((answer.status, sorted(answer.json()['zato_env'])), (400, sorted(known)))
        self.assertEqual(self.broker.ask('POST', '/orders', body=b'{}').status, 401)
        self.assertEqual(self.broker.ask('DELETE', '/orders').status, 405)

    def has_examples(self, operation: dict[str, Any]) -> bool:
        body = [media for media in operation.get('requestBody', {}).get('content', {}).values() if media['schema']]
        return all('example' in one for one in (*operation['parameters'], *body)) and (
            bool(operation['parameters']) or bool(body))

    def call(self, path: str, method: str, operation: dict[str, Any]) -> Answer:
        """As a client generated from the document would."""
        query: list[tuple[str, str]] = []
        for param in operation['parameters']:
            value = param['example']
            if param['in'] == 'path':
                path = path.replace(f'{{{param["name"]}}}', quote(as_text(value), safe=''))
            else:
                query += [(param['name'], as_text(one)) for one in (value if isinstance(value, list) else [value])]
        fields = basic(USER, PASSWORD) if operation['security'] else {}
        body = b''
        for kind, media in operation.get('requestBody', {}).get('content', {}).items():
            fields['Content-Type'] = kind
            if kind == XML:
                body = media['example'].encode()
            elif kind == JSON:
                body = json.dumps(media['example']).encode()
            elif kind == FORM:
                flat = {name: [as_text(v) for v in value] if isinstance(value, list) else as_text(value)
                        for name, value in media['example'].items()}
                body = urlencode(flat, doseq=True).encode()
        target = f'{path}?{urlencode(query)}' if query else path
        return self.broker.ask(method.upper(), target, fields=fields, body=body)


class DoorTests(OpenAPITestCase):
    """/zato/openapi.json and /zato/docs by their settings."""

    def test_document(self) -> None:
        """It is JSON, with the cluster's name and revision, and is the same until something changes."""
        first, second = (self.broker.ask('GET', '/zato/openapi.json') for _ in range(2))
        self.assertEqual((first.status, first.field('content-type')), (200, JSON))
        self.assertEqual(first.body, second.body)
        revision = self.api['info']['version']
        self.broker.configure(json.dumps({'channel_rest': [
            {'name': 'late.one', 'url_path': '/late', 'service': 'shop.free', 'security': None}]}))  # fmt: skip
        after = self.broker.ask('GET', '/zato/openapi.json').json()
        self.assertIn('/late', after['paths'])
        self.assertGreater(int(after['info']['version']), int(revision))

    def test_servers(self) -> None:
        """Where nobody speaks for a client: the server that it asks. Else what a trusted proxy says, on every request
        anew; a channel with a public URL has that one."""
        self.broker.configure(json.dumps({'channel_rest': [
            {'name': 'public.one', 'url_path': '/public', 'service': 'shop.free', 'security': None,
             'public_url': 'https://public.example.com/esb/'}]}))  # fmt: skip
        for fields, url in (
            ({}, '/'), ({'Host': 'evil.example'}, '/'), ({'X-Forwarded-For': '203.0.113.7'}, '/'),
            ({'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'api.example.com'}, 'https://api.example.com'),
            ({'Forwarded': 'for=203.0.113.7;proto=https;host="api.example.com:8443"'}, 'https://api.example.com:8443'),
            ({}, '/'),
        ):  # fmt: skip
            told = self.broker.ask('GET', '/zato/openapi.json', fields=fields).json()
            self.assertEqual(told['servers'], [{'url': url}])
            self.assertEqual(told['paths']['/public']['post']['servers'], [{'url': 'https://public.example.com/esb'}])

    def test_page(self) -> None:
        """/zato/docs and its files are ours, typed, and under a policy that lets nothing else in; other names are
        404."""
        page = self.broker.ask('GET', '/zato/docs')
        self.assertEqual((page.status, page.field('content-type')), (200, 'text/html; charset=utf-8'))
        for name in ('viewer.css', 'viewer.js', 'render.js', 'console.js', 'icon.svg'):
            self.assertEqual(self.broker.ask('GET', f'/zato/docs/{name}').status, 200, name)
        policy = page.field('content-security-policy')
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn('unsafe', policy)
        self.assertNotIn(b'http:', page.body)
        self.assertNotIn(b'<script>', page.body)
        for name in ('docs.py', '..%2Fdocs.py', 'index.htm'):
            self.assertEqual(self.broker.ask('GET', f'/zato/docs/{name}').status, 404, name)

    def test_who_may_read(self) -> None:
        """By default the document asks for admin.invoke; `openapi = "off"` and `docs = false` take both, or the page
        alone, away."""
        self.assertEqual(read_settings({}).openapi, 'basic')
        self.assertEqual(enabled_endpoints()['/zato/openapi.json'].security, 'admin.invoke')
        self.assertIsNone(enabled_endpoints('open')['/zato/openapi.json'].security)
        self.assertEqual(enabled_endpoints('off'), BUILTIN_ENDPOINTS)
        self.assertEqual(
            enabled_endpoints('open', docs=False).keys() - BUILTIN_ENDPOINTS.keys(), {'/zato/openapi.json'}
        )
        with self.assertRaisesRegex(StartError, 'openapi'):
            read_settings({'openapi': 'everybody'})


class DocsTests(OpenAPITestCase):
    def test_example_of_the_docs(self) -> None:
        """The service of docs/openapi.md is documented as that page says, and its example is taken."""
        page = (Path(__file__).resolve().parents[2] / 'docs' / 'openapi.md').read_text('utf-8')
        self.broker.serve('bank.py', page.partition('```python\n')[2].partition('```')[0])
        self.broker.configure(json.dumps({'channel_rest': [
            {'name': 'bank.send', 'url_path': '/send', 'service': 'bank.send', 'method': 'POST', 'security': None,
             'data_format': 'json'}]}))  # fmt: skip
        operation = self.broker.ask('GET', '/zato/openapi.json').json()['paths']['/send']['post']
        self.assertEqual((operation['summary'], operation['description'], operation['tags']),
                         ('Sends money.', 'It arrives the same day.', ['bank']))
        example = operation['requestBody']['content'][JSON]['example']
        answer = self.broker.ask('POST', '/send', body=json.dumps(example).encode())
        self.assertEqual((answer.status, list(answer.json())), (200, ['reference']))


class CommandTests(OpenAPITestCase):
    """`zatotx openapi PATH`."""

    def test_json_and_yaml(self) -> None:
        """To stdout as JSON, to a file as its name says; both valid and with the server's address."""
        said = self.broker.run('openapi', str(self.broker.path))
        document = json.loads(said.out)
        self.assertEqual(document['servers'], [{'url': f'http://127.0.0.1:{self.broker.port()}'}])
        self.assertEqual(document['paths'].keys(), self.broker.ask('GET', '/zato/openapi.json').json()['paths'].keys())
        self.assertIn('Left out: shop.odd', said.err)
        file = Path(self.mktemp() + '.yaml').absolute()
        self.broker.must('openapi', str(self.broker.path), '--output', str(file))
        loaded = yaml.safe_load(file.read_text('utf-8'))
        self.assertEqual(loaded, document)
        self.assertEqual([str(e) for e in OpenAPIV31SpecValidator(loaded).iter_errors()], [])

    def test_what_cannot_be(self) -> None:
        """A file that cannot be written is one sentence."""
        said = self.broker.run('openapi', str(self.broker.path), '--output', '/nowhere/x.json')
        self.assertEqual((said.code, said.err.count('cannot be written')), (1, 1), said)


class StoppedTests(SynchronousTestCase):
    def test_nothing_runs(self) -> None:
        """Where no server runs, what to start is said."""
        broker = create()
        self.addCleanup(remove, broker)
        said = broker.run('openapi', str(broker.path))
        self.assertEqual(said.code, 1)
        self.assertIn(f'zatotx start {broker.path}', said.err)
