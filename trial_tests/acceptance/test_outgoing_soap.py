"""Outgoing SOAP on a running server, whose peer is itself: its own channels, WS-Security and WSDL."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker
from trial_tests.support.rawhttp import Answer
from trial_tests.support.served import one_server
from trial_tests.support.soap_calling import wsdl

SERVICES = '''
from zatotx import BadRequest, Int, Service, SoapFault


class Balance(Service):
    """ The balance of one account. """
    name = 'bank.balance'
    input = Int('account_id'), '-currency'
    output = Int('account_id'), 'currency', 'asked_by', 'version'

    async def handle(self):
        asked = self.request.input
        if asked.account_id == 402:
            raise SoapFault('Client', 'There is not enough money', '<short xmlns="urn:bank">10</short>',
                            subcodes=['{urn:bank}NoMoney'])
        self.response.payload = {'account_id': asked.account_id, 'currency': asked.currency or 'EUR',
                                 'asked_by': self.principal.name if self.principal else 'nobody',
                                 'version': self.request.soap.version}


class Json(Service):
    name = 'bank.json'

    async def handle(self):
        self.response.payload = {'no': 'SOAP'}


class Told(Service):
    name = 'bank.told'
    input = 'what'

    async def handle(self):
        self.logger.info('Told %s', self.request.input.what)
'''
CALLERS = '''
from zatotx import PeerFault, Service, SoapFault

ASK = '<getBalance xmlns="urn:bank"><account_id>{}</account_id></getBalance>'


def shown(data):
    return {name: str(getattr(data, name)) for name in ('account_id', 'currency', 'asked_by', 'version')}


class Raw(Service):
    name = 'caller.raw'

    async def handle(self):
        asked = self.request.payload
        response = await self.out.soap[asked['to']].post(ASK.format(asked['id']))
        self.response.payload = shown(response.data)


class RawInThread(Service):
    name = 'caller.raw.thread'

    def handle(self):
        asked = self.request.payload
        response = self.outgoing.soap.get(asked['to']).conn.post(self.cid, ASK.format(asked['id']))
        self.response.payload = shown(response.data)


class Client(Service):
    name = 'caller.client'

    async def handle(self):
        asked = self.request.payload
        got = await self.out.soap[asked['to']].client.getBalance(account_id=asked['id'], **asked.get('more', {}))
        self.response.payload = shown(got)


class ClientInThread(Service):
    name = 'caller.client.thread'

    def handle(self):
        asked = self.request.payload
        with self.outgoing.soap[asked['to']].conn.client() as client:
            self.response.payload = shown(client.service.getBalance(asked['id']))


class Tells(Service):
    name = 'caller.tells'

    async def handle(self):
        soap = self.out.soap[self.request.payload]
        one = await soap.call('tell', '<tell xmlns="urn:bank"><what>it by hand</what></tell>')
        two = await soap.client.tell(what='it by name')
        self.response.payload = [one.status_code, one.data, two]


class Catches(Service):
    name = 'caller.catches'

    def handle(self):
        try:
            self.out.soap[self.request.payload].post(ASK.format(402))
        except SoapFault as fault:
            kind = type(fault).__name__
            self.response.payload = [fault.code, fault.string, fault.subcodes, fault.detail[0].text, kind]
'''
CHANNELS = '''
security:
  - {name: bank.digest, type: wss, username: "bänk", password: "pass <é> of bank", password_type: digest}
  - {name: bank.text, type: wss, username: bank.text, password: "pass <é> of bank"}
  - {name: bank.basic, type: basic_auth, username: bank.basic, password: "pass: of bank"}
  - {name: bank.wrong, type: wss, username: "bänk", password: "another", password_type: digest}
channel_soap:
  - {name: bank.open, url_path: /bank/open, soap_action: getBalance, service: bank.balance, namespace: "urn:bank"}
  - {name: bank.tell, url_path: /bank/open, soap_action: tell, service: bank.told, namespace: "urn:bank", one_way: true}
  - {name: bank.rpc, url_path: /bank/rpc, soap_action: getBalance, service: bank.balance, namespace: "urn:rpc",
     style: rpc}
  - {name: bank.digest, url_path: /bank/digest, soap_action: getBalance, service: bank.balance, security: bank.digest,
     namespace: "urn:bank"}
  - {name: bank.text, url_path: /bank/text, soap_action: getBalance, service: bank.balance, security: bank.text,
     namespace: "urn:bank"}
  - {name: bank.basic, url_path: /bank/basic, soap_action: getBalance, service: bank.balance, security: bank.basic,
     namespace: "urn:bank"}
'''
WAYS = ('raw', 'raw.thread', 'client', 'client.thread')
HOW = ('open', 'digest', 'text', 'basic')


def document(port: int) -> str:
    """The channels, and a connection to each in both versions."""
    lines = [CHANNELS.rstrip(), 'outgoing_soap:']
    for how in (*HOW, 'rpc', 'wrong'):
        path = 'digest' if how == 'wrong' else how
        for version in ('1.1', '1.2'):
            lines.append(f'  - {{name: "{how} {version}", host: "http://127.0.0.1:{port}", url_path: /bank/{path}, '
                         f'soap_action: getBalance, soap_version: "{version}", '
                         f'security: {"null" if how in ("open", "rpc") else f"bank.{how}"}}}')
    lines += [f'  - {{name: asleep, host: "http://127.0.0.1:{port}", is_active: false}}',
              f'  - {{name: rest, host: "http://127.0.0.1:{port}", url_path: /bank/json}}', 'channel_rest:']
    names = [*(f'caller.{way}' for way in WAYS), 'caller.tells', 'caller.catches']
    lines.append('  - {name: bank.json, url_path: /bank/json, service: bank.json, data_format: json}')
    lines += [f'  - {{name: {name}, url_path: /{name}, service: {name}, data_format: json}}' for name in names]
    return '\n'.join(lines) + '\n'


def extend(broker: Broker) -> None:
    broker.serve('bank.py', SERVICES)
    broker.serve('callers.py', CALLERS)
    broker.configure(document(broker.port()))


class ServerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = one_server().extend('out-soap', extend)

    def call(self, name: str, payload: Any) -> Answer:
        return self.broker.ask('POST', f'/{name}', body=json.dumps(payload).encode())

    def gives(self, name: str, payload: Any) -> Any:
        answer = self.call(name, payload)
        self.assertEqual(answer.status, 200, answer.body)
        return json.loads(answer.body)

    def internal(self, service: str, **fields: Any) -> Answer:
        return self.broker.ask('POST', f'/zato/json/{service}', fields=self.broker.pubapi(),
                               body=json.dumps(fields).encode())

    def test_every_way_in_every_version(self) -> None:
        """By hand and by WSDL, from async and def services, without login, with tokens in text and digest, and with
        Basic Auth. No call is taken for a replay of another."""
        for how in HOW:
            for version in ('1.1', '1.2'):
                for way in WAYS:
                    for number in (7, 8):
                        got = self.gives(f'caller.{way}', {'to': f'{how} {version}', 'id': number})
                        who = '' if how == 'open' else f'bank.{how}'
                        seen = got['account_id'], got['currency'], got['version']
                        self.assertEqual(seen, (str(number), 'EUR', version))
                        self.assertTrue(got['asked_by'] == who or not who, got)

    def test_rpc(self) -> None:
        """The other style, by its WSDL, where a call has all its parts."""
        for version in ('1.1', '1.2'):
            got = self.gives('caller.client', {'to': f'rpc {version}', 'id': 7, 'more': {'currency': 'PLN'}})
            self.assertEqual((got['account_id'], got['currency'], got['version']), ('7', 'PLN', version))

    def test_one_way(self) -> None:
        """Messages that nobody answers, by hand and by name."""
        self.assertEqual(self.gives('caller.tells', 'open 1.1'), [202, None, None])
        for way in ('hand', 'name'):
            self.broker.logged(f'Told it by {way}')

    def test_faults(self) -> None:
        """Reach the service with all they say; its caller, where it lets them through, learns which connection it was
        and nothing that the peer said. The log has that."""
        for version in ('1.1', '1.2'):
            code, text, subcodes, detail, kind = self.gives('caller.catches', f'open {version}')
            self.assertEqual((text, detail, kind), ('There is not enough money', '10', 'PeerFault'))
            self.assertIn('{urn:bank}NoMoney', subcodes)
            self.assertEqual(code, {'1.1': '', '1.2': 'Sender'}[version])
            for way in WAYS:
                answer = self.call(f'caller.{way}', {'to': f'open {version}', 'id': 402})
                said = ' (Sender)' if version == '1.2' else ''
                details = f'Outgoing connection open {version} (soap) answered with a fault{said}'
                self.assertEqual((answer.status, answer.details), (502, details))
        self.broker.logged('answered with a fault', 'There is not enough money')

    def test_a_wrong_password(self) -> None:
        """Is a fault of the peer's."""
        for version in ('1.1', '1.2'):
            answer = self.call('caller.raw', {'to': f'wrong {version}', 'id': 1})
            self.assertEqual(answer.status, 502)
            self.assertIn(f'Outgoing connection wrong {version} (soap) answered with a fault', answer.details)

    def test_missing_and_inactive(self) -> None:
        """404 with a sentence each."""
        answer = self.call('caller.raw', {'to': 'nobody', 'id': 1})
        self.assertEqual(answer.status, 404)
        self.assertEqual(answer.details, "There is no outgoing connection 'nobody' of kind soap")
        answer = self.call('caller.raw', {'to': 'asleep', 'id': 1})
        self.assertEqual((answer.status, answer.details), (404, '[asleep] is inactive'))

    def test_no_soap(self) -> None:
        """A peer that has none says so by HTTP, or tells no WSDL."""
        answer = self.call('caller.raw', {'to': 'rest', 'id': 1})
        self.assertEqual(answer.status, 502)
        self.assertIn('Outgoing connection rest (soap) answered ', answer.details)
        answer = self.call('caller.client', {'to': 'rest', 'id': 1})
        self.assertEqual(answer.status, 502)
        self.assertIn('Outgoing connection rest (soap) gave no usable WSDL: ', answer.details)

    def test_zatos_names(self) -> None:
        """zato.http-soap.* make, list, ping, change and delete a connection, which services use at once."""
        common = {'cluster_id': 1, 'connection': 'outgoing', 'transport': 'soap', 'is_active': True,
                  'is_internal': False}
        made = self.internal('zato.http-soap.create', name='made', host=f'http://127.0.0.1:{self.broker.port()}',
                             url_path='/bank/open', soap_action='getBalance', soap_version='1.2', method='',
                             data_format='', security_id='ZATO_NONE', **common)
        self.assertEqual(made.status, 200, made.body)
        number = made.json()['zato_http_soap_create_response']['id']
        self.assertEqual(self.gives('caller.client', {'to': 'made', 'id': 5})['version'], '1.2')
        listed = self.internal('zato.http-soap.get-list', cluster_id=1, connection='outgoing', transport='soap')
        (row,) = [one for one in listed.json()['zato_http_soap_get_list_response'] if one['name'] == 'made']
        self.assertEqual((row['soap_action'], row['soap_version'], row['host']),
                         ('getBalance', '1.2', f'http://127.0.0.1:{self.broker.port()}'))
        pinged = self.internal('zato.http-soap.ping', id=number)
        self.assertIn('Code: 405', pinged.json()['zato_http_soap_ping_response']['info'])
        edited = self.internal('zato.http-soap.edit', id=number, name='made', soap_version='1.1', url_path='/bank/open',
                               host=f'http://127.0.0.1:{self.broker.port()}', soap_action='getBalance', **common)
        self.assertEqual(edited.status, 200, edited.body)
        self.assertEqual(self.gives('caller.client', {'to': 'made', 'id': 5})['version'], '1.1')
        self.assertEqual(self.internal('zato.http-soap.delete', id=number).status, 200)
        self.assertEqual(self.call('caller.client', {'to': 'made', 'id': 5}).status, 404)

    def test_metrics(self) -> None:
        """Calls and errors of each connection, under the kind soap; a fault of the peer is an error."""
        before, other = self.figures('basic 1.1'), self.figures('basic 1.2')
        self.gives('caller.raw', {'to': 'basic 1.1', 'id': 1})
        self.assertEqual(self.call('caller.raw', {'to': 'basic 1.1', 'id': 402}).status, 502)
        self.assertEqual([now - then for now, then in zip(self.figures('basic 1.1'), before, strict=True)], [2, 1])
        self.assertEqual(self.figures('basic 1.2'), other)

    def figures(self, name: str) -> tuple[float, float]:
        """Calls and errors of that connection, as Prometheus is told."""
        text = self.broker.ask('GET', '/zato/metrics', fields=self.broker.admin()).body.decode()
        mine = rf'connection="{name}",(?:kind="\w+",)?type="soap"'
        calls, errors = (re.findall(rf'^zatotx_outgoing_{what}_total\{{{mine}\}} (\S+)$', text, re.M)
                         for what in ('calls', 'errors_by_kind'))  # fmt: skip
        return sum(map(float, calls)), sum(map(float, errors))

    def test_import_and_export(self) -> None:
        """What is exported can be imported, the WSDL in it too; mistakes are told each by its field."""
        exported = self.broker.must('enmasse', str(self.broker.path), '--export')
        self.assertIn('outgoing_soap:', exported)
        self.assertNotIn('of bank', exported)
        self.broker.write('own.wsdl', wsdl().decode()).chmod(0o600)
        own = 'outgoing_soap:\n  - {name: own, host: "http://127.0.0.1:1", wsdl: "file:own.wsdl"}\n'
        self.broker.configure(own)
        self.assertIn('left 1 unchanged', self.broker.imported(own).text)
        self.assertIn('urn:bank/GetBalance', self.broker.must('enmasse', str(self.broker.path), '--export'))
        refused = self.broker.imported('outgoing_soap:\n  - {name: bad, host: "http://x", wsdl: "<a", '
                                       'soap_version: "2", soap_action: \'a"b\'}\n')
        self.assertEqual(refused.code, 1)
        for part in ('wsdl', 'soap_version', 'soap_action'):
            self.assertIn(part, refused.text)
