"""What a distribution adds to zatotx by one or two files each: a security type, a response header, a configuration
object. `trial_tests/support/toy_distribution` is on PYTHONPATH, and a real server has all of it."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from twisted.trial.unittest import SynchronousTestCase

import trial_tests.support
from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.rawhttp import Answer

FOLDER = Path(trial_tests.support.__file__).parent / 'toy_distribution'
SERVICES = '''
    from zatotx import Service

    class Who(Service):
        name = 'toy.who'
        async def handle(self):
            self.response.payload = {'name': self.principal.name, 'kind': self.principal.kind}

    class Relay(Service):
        name = 'toy.relay'
        async def handle(self):
            response = await self.out.rest['toy.out'].get()
            self.response.payload = response.data
'''
DOCUMENT = """
    security:
      - {{name: toy.badge, type: badge, password: "sesame"}}
      - {{name: toy.lost, type: badge, password: "lost", is_active: false}}
    channel_rest:
      - {{name: toy.guarded, url_path: /toy/guarded, service: toy.who, data_format: json, method: GET,
          security: toy.badge}}
      - {{name: toy.lost, url_path: /toy/lost, service: toy.who, data_format: json, method: GET, security: toy.lost}}
      - {{name: toy.relay, url_path: /toy/relay, service: toy.relay, data_format: json, method: GET, security: null}}
      - {{name: framed.relay, url_path: /toy/framed, service: toy.relay, data_format: json, method: GET,
          security: null}}
      - {{name: framed.guarded, url_path: /toy/framed/guarded, service: toy.who, data_format: json, method: GET,
          security: toy.badge}}
      - {{name: framed.broken, url_path: /toy/framed/broken, service: toy.relay, data_format: json, method: GET,
          security: null}}
    outgoing_rest:
      - {{name: toy.out, host: "http://127.0.0.1:{port}", url_path: /toy/guarded, security: toy.badge,
          data_format: json}}
    price_list:
      - {{name: toy.prices, partner: toy.badge, prices: {{apple: 1.5}}}}
"""
ADMITTED = {'name': 'toy.badge', 'kind': 'badge'}


def built() -> Broker:
    """A running environment with the distribution."""
    broker = create(servers=1, env={'PYTHONPATH': str(FOLDER)})
    broker.start()
    broker.serve('toy_services.py', SERVICES)
    broker.configure(DOCUMENT.format(port=broker.port()))
    return broker


class ExtensionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = shared('extensions', built)

    def get(self, path: str, **fields: str) -> Answer:
        return self.broker.ask('GET', path, fields={name.replace('_', '-'): text for name, text in fields.items()})

    def test_security_type_accepts_and_refuses(self) -> None:
        """A channel admits callers by the type's authenticator, and refuses others with the type's challenge, also
        while its definition is inactive."""
        self.assertEqual(self.get('/toy/guarded', X_Badge='sesame').json(), ADMITTED)
        for fields in ({}, {'X_Badge': 'wrong'}):
            refused = self.get('/toy/guarded', **fields)
            self.assertEqual((refused.status, refused.field('www-authenticate')), (401, 'Badge realm="toy.badge"'))
        inactive = self.get('/toy/lost', X_Badge='lost')
        self.assertEqual((inactive.status, inactive.field('www-authenticate')), (401, 'Badge realm="toy.lost"'))

    def test_security_type_in_openapi(self) -> None:
        """The OpenAPI document has the security scheme of the type."""
        api = self.broker.invoke('zato.openapi.get').json()
        (requirement,) = api['paths']['/toy/guarded']['get']['security']
        self.assertEqual(api['components']['securitySchemes'][next(iter(requirement))], {
            'type': 'apiKey', 'in': 'header', 'name': 'X-Badge', 'description': 'toy.badge: a badge'})

    def test_security_type_of_outgoing_connections(self) -> None:
        """An outgoing connection sends the credentials of the type, which the guarded channel accepts."""
        self.assertEqual(self.get('/toy/relay').json(), ADMITTED)

    def test_security_type_in_the_api_and_errors(self) -> None:
        """The definitions have zato.* services, and references to other types name this one among the usable types."""
        made = self.broker.invoke('zato.security.badge.get-list', b'{"cluster_id": 1}')
        self.assertIn('toy.badge', made.body.decode())
        self.assertNotIn('sesame', made.body.decode())
        wrong = self.broker.imported("""
            security: [{name: toy.digest, type: digest_auth, username: u}]
            channel_rest: [{name: toy.x, url_path: /toy/x, service: toy.who, security: toy.digest}]
        """)
        self.assertIn('only apikey, badge, basic_auth, jwt', wrong.text)

    def test_response_header(self) -> None:
        """Responses of the channels that the header is for have it, errors too; responses of others do not. A function
        that fails, or returns an invalid field, leaves the response as it is."""
        self.assertEqual(self.get('/toy/framed').field('x-frame-options'), 'DENY')
        refused = self.get('/toy/framed/guarded')
        self.assertEqual((refused.status, refused.field('x-frame-options')), (401, 'DENY'))
        for path, fields in (('/toy/relay', {}), ('/toy/framed/broken', {}), ('/toy/framed', {'X_Bad': '1'})):
            answer = self.get(path, **fields)
            self.assertEqual((answer.status, answer.field('x-frame-options')), (200, ''), path)
        self.assertIn("responses of channel 'framed.broken'", self.broker.log())

    def test_config_object(self) -> None:
        """Objects of the type are stored, validated, exported, imported again, and administered by zato.* services."""
        exported = self.broker.must('enmasse', str(self.broker.path), '--export')
        lists = {'price_list': yaml.safe_load(exported)['price_list']}
        self.assertEqual(
            lists['price_list'], [{'name': 'toy.prices', 'partner': 'toy.badge', 'prices': {'apple': 1.5}}]
        )
        self.broker.configure(yaml.safe_dump(lists).replace('1.5', '2.5'))
        rows = self.broker.invoke('zato.price-list.get-list', json.dumps({'cluster_id': 1}).encode()).json()
        self.assertIn('2.5', json.dumps(rows))
        wrong = self.broker.imported('price_list: [{name: toy.other, partner: nobody, prices: {pear: many}}]')
        self.assertNotEqual(wrong.code, 0)
        self.assertIn('prices', wrong.text)
        self.assertIn('nobody', wrong.text)
        self.broker.configure(yaml.safe_dump(lists))

    def test_info(self) -> None:
        """`zatotx info` lists what the distribution declares."""
        said = self.broker.must('info', str(self.broker.path))
        for name in ('framing', 'price_list'):
            self.assertIn(name, said)
