"""SOAP on a running server, with curl."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker
from trial_tests.support.served import PASSWORD, USER, one_server
from trial_tests.support.soap import ZATO, envelope
from trial_tests.support.waiting import until
from zatotx.wire.soap.envelope import NS_11, VERSIONS, Envelope, read_envelope
from zatotx.wire.soap.faults import FaultElement, read_fault
from zatotx.wire.xml import parser

SERVICES = '''
from twisted.internet.defer import Deferred

from zatotx import Int, NotFound, Service, SoapFault


class Balance(Service):
    """ The balance of one account. """
    name = 'bank.balance'
    input = Int('account_id'), '-currency'
    output = 'balance', 'currency', 'asked_by'

    async def handle(self):
        if self.request.input.account_id == 404:
            raise NotFound(self.cid, 'No such account')
        if self.request.input.account_id == 402:
            raise SoapFault('Client', 'No money', '<short xmlns="urn:bank">10.00</short>')
        if self.request.input.account_id == 500:
            raise ValueError('inside')
        self.response.payload = {'balance': '10.50', 'currency': self.request.input.currency or 'EUR',
                                 'asked_by': self.principal.name}


class Count(Service):
    """ How many elements came, counted in a thread. """
    name = 'bank.count'

    def handle(self):
        self.response.payload = f'<count>{sum(1 for one in self.request.payload.iterchildren())}</count>'


class Waits(Service):
    name = 'bank.waits'

    async def handle(self):
        await Deferred()


class Takes(Service):
    name = 'bank.takes'

    async def handle(self):
        self.logger.info('Taken: %s', self.request.input.what)
'''

CHANNELS = f'''
channel_soap:
  - {{name: bank.balance, url_path: /bank, soap_action: balance, service: bank.balance, security: null}}
  - {{name: bank.secure, url_path: /bank, soap_action: secure, soap_version: "1.2", service: bank.balance,
     security: {USER}}}
  - {{name: bank.count, url_path: /bank, soap_action: count, service: bank.count, security: null}}
  - {{name: bank.waits, url_path: /bank, soap_action: waits, service: bank.waits, security: null, timeout: 0.2}}
  - {{name: bank.takes, url_path: /bank, soap_action: takes, service: bank.takes, security: null, one_way: true}}
  - {{name: bank.strict, url_path: /strict, service: bank.balance, security: null, fault_status: 500, style: rpc,
     namespace: "urn:bank", operation: balance}}
'''
BALANCE = ('-H', 'SOAPAction: balance')
XML = ('-H', 'Content-Type: text/xml')
ASKED = '<q><account_id>{}</account_id></q>'


class Answer:
    """What curl got."""

    def __init__(self, head: str, body: bytes) -> None:
        first, *lines = head.strip().split('\r\n\r\n')[-1].splitlines()
        self.status = int(first.split()[1])
        self.fields = {name.lower(): value.strip() for name, _, value in (line.partition(':') for line in lines)}
        self.body = body

    @property
    def envelope(self) -> Envelope:
        return read_envelope(parser.parse_document(self.body))

    @property
    def payload(self) -> Any:
        return self.envelope.payload

    @property
    def fault(self) -> FaultElement:
        fault = read_fault(self.payload)
        if fault is None:
            raise AssertionError(f'No fault: {self.status} {self.body!r}')
        return fault


def served() -> Broker:
    """The environment that acceptance tests share, with a bank."""
    broker = one_server()
    if not hasattr(broker, 'has_bank'):
        broker.serve('bank.py', SERVICES)
        broker.configure(CHANNELS)
        broker.has_bank = True  # type: ignore[attr-defined]  # a note on what this very environment has
    return broker


class SoapCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = served()

    def curl(self, body: bytes, *options: str, path: str = '/bank') -> Answer:
        """POST it as it is."""
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / 'body').write_bytes(body)
        url = f'http://127.0.0.1:{self.broker.port()}{path}'
        done = subprocess.run(
            ['curl', '-sS', '--max-time', '30', '-D', str(directory / 'head'), '-o', str(directory / 'answer'),
             '--data-binary', f'@{directory / "body"}', *options, url],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        head, answer = (directory / 'head').read_bytes().decode('latin-1'), directory / 'answer'
        return Answer(head, answer.read_bytes() if answer.exists() else b'')

    def ask(self, inside: str, *options: str, action: str = 'balance', version: str = '1.1', path: str = '/bank'
            ) -> Answer:  # fmt: skip
        """POST a message of that version."""
        named = (['-H', 'Content-Type: text/xml; charset=utf-8', '-H', f'SOAPAction: "{action}"'] if version == '1.1'
                 else ['-H', f'Content-Type: application/soap+xml; charset=utf-8; action="{action}"'])  # fmt: skip
        return self.curl(envelope(inside, VERSIONS[version]), *named, *options, path=path)


class ServedTests(SoapCase):
    def test_both_versions(self) -> None:
        """Answered in the version and under the Content-Type that was asked, with the cid."""
        for version, content_type in (('1.1', 'text/xml; charset=utf-8'),
                                      ('1.2', 'application/soap+xml; charset=utf-8')):  # fmt: skip
            answer = self.ask(ASKED.format(1), '-H', 'X-Zato-CID: abcdefgh12345678', version=version)
            self.assertEqual((answer.status, answer.fields['content-type']), (200, content_type), answer.body)
            self.assertEqual(answer.fields['x-zato-cid'], 'abcdefgh12345678')
            self.assertEqual(answer.payload.tag, '{urn:bank.balance}balanceResponse')
            self.assertEqual((answer.payload.balance.text, answer.payload.currency.text), ('10.50', 'EUR'))

    def test_basic_auth(self) -> None:
        """401 with a challenge and a fault; let in with the password."""
        for version in VERSIONS:
            answer = self.ask(ASKED.format(1), action='secure', version=version)
            self.assertEqual((answer.status, answer.fault.code), (401, 'Sender'))
            self.assertEqual(answer.fields['www-authenticate'].partition(' ')[0], 'Basic')
            answer = self.ask(ASKED.format(1), '-u', f'{USER}:{PASSWORD}', action='secure', version=version)
            self.assertEqual((answer.status, answer.payload.asked_by.text), (200, USER))

    def test_faults(self) -> None:
        """Each with its status, and with the cid."""
        for account, status, code, reason in (
            ('404', 404, 'Sender', 'No such account'), ('402', 400, 'Sender', 'No money'),
            ('500', 500, 'Receiver', 'An error has occurred'), ('x', 400, 'Sender', '$.account_id: '),
        ):  # fmt: skip
            for version in VERSIONS:
                answer = self.ask(ASKED.format(account), version=version)
                self.assertEqual((answer.status, answer.fault.code), (status, code))
                self.assertIn(reason, answer.fault.reason)
                self.assertIn(f'<cid>{answer.fields["x-zato-cid"]}</cid>'.encode(), answer.body)
                self.assertNotIn(b'inside', answer.body)

    def test_faults_of_http(self) -> None:
        """404, 405, 413, 415 and 504 are faults too."""
        self.assertEqual(self.ask('<q/>', action='none').status, 404)
        self.assertEqual(self.ask('<q/>', path='/no-bank').fault.code, 'Sender')
        self.assertIn('POST', self.ask('<q/>', '-X', 'PUT').fields['allow'])
        self.assertEqual(self.curl(b'{}', *BALANCE, '-H', 'Content-Type: application/json').status, 415)
        late = self.ask('<q/>', action='waits', version='1.2')
        self.assertEqual((late.status, late.fault.code), (504, 'Receiver'))
        large = self.ask('<q>' + 'x' * 50_000_000 + '</q>')
        self.assertEqual((large.status, large.fault.code), (413, 'Sender'))

    def test_what_curl_calls_a_form(self) -> None:
        """`curl -d` without a Content-Type is a message, where it names a SOAPAction."""
        answer = self.curl(envelope(ASKED.format(1)), *BALANCE)
        self.assertEqual((answer.status, answer.payload.balance.text), (200, '10.50'))

    def test_one_way(self) -> None:
        """202, empty, and the service has run."""
        answer = self.ask('<q><what>a parcel</what></q>', action='takes')
        self.assertEqual((answer.status, answer.body), (202, b''))
        self.broker.logged('Taken: a parcel')

    def test_fault_status_and_rpc(self) -> None:
        """SOAP 1.1's own rule for statuses, and calls whose parts are in no namespace; no action is an empty one."""
        asked = '<b:balance xmlns:b="urn:bank"><account_id>1</account_id></b:balance>'
        answer = self.ask(asked, action='', path='/strict')
        self.assertEqual(answer.payload.tag, '{urn:bank}balanceResponse')
        self.assertEqual(answer.payload.find('currency').text, 'EUR')
        self.assertEqual(self.ask(ASKED.format('x'), action='', path='/strict').status, 500)

    def test_large_messages(self) -> None:
        """Parsed in a thread; `def` services too; compressed ones."""
        inside = '<q>' + ''.join(f'<a>{n * 7919 % 60_013}</a>' for n in range(60_000)) + '</q>'
        self.assertEqual(self.ask(inside, action='count').payload.text, '60000')
        body = gzip.compress(envelope(inside))
        answer = self.curl(body, '-H', 'SOAPAction: count', *XML, '-H', 'Content-Encoding: gzip')
        self.assertEqual(answer.payload.text, '60000')

    def test_lines_of_the_log(self) -> None:
        """Requests are in the access log under their channel's name."""
        cid = self.ask(ASKED.format(1)).fields['x-zato-cid']
        self.assertIn('bank.balance', self.broker.logged(cid, 'POST /bank'))


class HostileTests(SoapCase):
    def test_xml_that_is_not_for_us(self) -> None:
        """400 and a fault, for whatever would make the reader do more than read, or two readers read two things; the
        server goes on."""
        laughs = ''.join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
        body = envelope('<q>{}</q>').decode()
        for prolog, inside in (
            (f'<!DOCTYPE a [<!ENTITY a0 "ha">{laughs}]>', '&a9;'),
            (f'<!DOCTYPE a [<!ENTITY b "{"b" * 50_000}">]>', '&b;' * 9_999),
            ('<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]>', '&f;'),
            (f'<!DOCTYPE a [<!ENTITY % f SYSTEM "http://127.0.0.1:{self.broker.port()}/zato/ping"> %f;]>', ''),
            ('<!DOCTYPE a SYSTEM "file:///etc/passwd">', ''), ('<!DOCTYPE a>', ''),
            ('', '<i:include xmlns:i="http://www.w3.org/2001/XInclude" href="file:///etc/passwd" parse="text"/>'),
            ('', '<a ' + ' '.join(f'a{n}="1"' for n in range(200_000)) + '/>'),
            ('', '<a>' * 100_000 + '</a>' * 100_000), ('', '\x00'),
            ('<?xml version="1.0" encoding="UTF-7"?>', ''), ('<?xml version="1.0" encoding="UTF-16"?>', ''),
        ):  # fmt: skip
            sent = (prolog + body.format(inside)).encode()
            answer = self.curl(sent, *BALANCE, *XML)
            self.assertEqual((answer.status, answer.fault.code), (400, 'Sender'), sent[:200])
            self.assertNotIn(b'root:', answer.body)
        surrogate = body.format('<a>\ud800</a>').encode('utf-8', 'surrogatepass')
        for sent in (body.encode('utf-16-le'), b'\xff' + body.encode(), surrogate):
            self.assertEqual(self.curl(sent, *BALANCE, *XML).status, 400)
        self.assertEqual(self.ask(ASKED.format(1)).status, 200)

    def test_envelopes_that_are_none(self) -> None:
        """Two Bodies, none, a header after it, another namespace."""
        one = f'<s:Body>{ASKED.format(1)}</s:Body>'
        within = f'<s:Body>{envelope("").decode()}</s:Body>'
        for inside in ('', one + one, one + '<s:Header/>', one + '<x/>', '<x/>' + one, within):
            sent = f'<s:Envelope xmlns:s="{NS_11}">{inside}</s:Envelope>'.encode()
            answer = self.curl(sent, *BALANCE, *XML)
            self.assertEqual((answer.status, answer.fault.code), (400, 'Sender'), inside)
        sent = f'<s:Envelope xmlns:s="urn:else">{one}</s:Envelope>'.encode()
        answer = self.curl(sent, '-H', 'Content-Type: application/soap+xml; action=balance')
        self.assertEqual((answer.status, answer.fault.code, answer.envelope.version.number),
                         (400, 'VersionMismatch', '1.2'))  # fmt: skip


class DoorTests(SoapCase):
    """`/zato/soap`: programs written for Zato's public API in SOAP."""

    def call(self, service: str, **fields: str) -> Any:
        public = self.broker.credentials()['pubapi']
        inside = ''.join(f'<{name}>{value}</{name}>' for name, value in fields.items())
        element = service.replace('.', '_').replace('-', '_')
        answer = self.ask(f'<{element}_request xmlns="{ZATO}">{inside}</{element}_request>', '-u',
                          f'{public["username"]}:{public["password"]}', action=service, path='/zato/soap')  # fmt: skip
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(answer.payload.tag, f'{{{ZATO}}}{element}_response')
        self.assertEqual(answer.payload.zato_env.result.text, 'ZATO_OK')
        return answer.payload

    def test_logins(self) -> None:
        """Only the API's user is let in; the refusal is a fault."""
        answer = self.ask('<q/>', action='zato.ping', path='/zato/soap')
        self.assertEqual((answer.status, answer.fault.code), (401, 'Sender'))
        self.assertEqual(self.call('zato.ping').item.pong.text, 'zato')

    def test_an_object_from_its_creation_to_its_end(self) -> None:
        """create, get-list, edit, delete, with values as text."""
        made = self.call('zato.security.basic-auth.create', cluster_id='1', name='soap.made', is_active='true',
                         username='soap.made', realm='R')  # fmt: skip
        number = made.item.id.text
        self.call('zato.security.basic-auth.edit', id=number, cluster_id='1', name='soap.made', is_active='false',
                  username='soap.other', realm='R')  # fmt: skip
        listed = self.call('zato.security.basic-auth.get-list', cluster_id='1').item_list
        rows = {row.name.text: row for row in listed.item}
        self.assertEqual((rows['soap.made'].username.text, rows['soap.made'].is_active.text), ('soap.other', 'false'))
        self.call('zato.security.basic-auth.delete', id=number)
        listed = self.call('zato.security.basic-auth.get-list', cluster_id='1').item_list
        self.assertNotIn('soap.made', [row.name.text for row in listed.item])


class ConfigurationTests(SoapCase):
    def invoked(self, service_name: str, **fields: Any) -> Any:
        service = f'zato.http-soap.{service_name}'
        answer = self.broker.invoke(service, json.dumps(fields).encode())
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()[service.replace('.', '_').replace('-', '_') + '_response']

    def test_made_through_the_api(self) -> None:
        """zato.http-soap with transport soap: live at once, listed beside REST channels with what is its own."""
        made = self.invoked('create', cluster_id=1, name='bank.made', is_active='true', connection='channel',
                            transport='soap', is_internal=False, url_path='/made', service='bank.balance',
                            security_id='ZATO_NONE', soap_action='made', soap_version='1.1', data_format='xml',
                            host='', method='')  # fmt: skip
        self.assertEqual(self.ask(ASKED.format(1), action='made', path='/made').status, 200)
        listed = self.invoked('get-list', cluster_id=1, connection='channel', transport='soap')
        rows = {row['name']: row for row in listed}
        self.assertEqual((rows['bank.made']['soap_action'], rows['bank.made']['transport']), ('made', 'soap'))
        self.assertNotIn('acc.echo', rows)
        self.invoked('edit', id=made['id'], connection='channel', transport='soap', soap_action='other')
        self.assertEqual(self.ask(ASKED.format(1), action='made', path='/made').status, 404)
        self.assertEqual(self.ask(ASKED.format(1), action='other', path='/made').status, 200)
        self.invoked('delete', id=made['id'])
        until(lambda: self.ask(ASKED.format(1), action='other', path='/made').status == 404, 'its end')

    def test_path_and_action_are_taken(self) -> None:
        """409 for a second channel of the same path and action, whatever their parameters are called."""
        for action in ('balance', '"balance"'):
            answer = self.broker.invoke('zato.http-soap.create', json.dumps({
                'name': 'bank.twin', 'connection': 'channel', 'transport': 'soap', 'url_path': '/bank',
                'soap_action': action, 'service': 'bank.balance',
            }).encode())  # fmt: skip
            self.assertEqual(answer.status, 409, answer.body)
            self.assertIn('url_path and soap_action', answer.details)

    def test_exported(self) -> None:
        """An export holds the channels as they were written, and imports to the same state."""
        said = self.broker.must('enmasse', str(self.broker.path), '--export')
        rows = {row['name']: row for row in yaml.safe_load(said)['channel_soap']}
        self.assertEqual(rows['bank.secure'], {
            'name': 'bank.secure', 'url_path': '/bank', 'soap_action': 'secure', 'soap_version': '1.2',
            'service': 'bank.balance', 'security': USER,
        })  # fmt: skip
        again = self.broker.imported(CHANNELS, '--replace', '--dry-run')
        self.assertEqual(again.code, 0, again.text)

    def test_mistakes(self) -> None:
        """All at once, each with section, object and field."""
        said = self.broker.imported('''
            channel_soap:
              - {name: a, url_path: /zato/a, soap_action: 'a"b', soap_version: "2.0", service: bank.balance,
                 fault_status: 400, operation: "1x", style: encoded, namespace: "urn:a b", unknown: 1}
        ''')  # fmt: skip
        self.assertEqual(said.code, 1)
        for field in ('url_path', 'soap_action', 'soap_version', 'fault_status', 'operation', 'style', 'namespace',
                      'unknown'):  # fmt: skip
            self.assertIn(field, said.text)
