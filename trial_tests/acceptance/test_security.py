"""Security definitions on two real servers, with the clients that people use: curl, and zeep for WS-Security."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase
from zeep import Client, Transport
from zeep.exceptions import Fault, TransportError
from zeep.plugins import HistoryPlugin
from zeep.wsse.username import UsernameToken

from trial_tests.support.broker import Broker
from trial_tests.support.rawhttp import ask
from trial_tests.support.served import two_servers
from trial_tests.support.waiting import until

SERVICES = '''
from zatotx import Service

class Who(Service):
    """Says who asked."""
    name = 'sec.who'

    async def handle(self):
        principal = self.principal
        self.response.payload = {'name': principal.name, 'username': principal.username, 'kind': principal.kind,
                                 'roles': sorted(principal.roles)}

class SoapWho(Service):
    name = 'sec.soap-who'
    input = '-note'
    output = 'name', 'note'

    class SimpleIO:
        input_optional = ('note',)
        output_required = ('name', 'note')
        response_elem = 'WhoResponse'
        namespace = 'urn:who'

    async def handle(self):
        self.response.payload = {'name': self.principal.name, 'note': self.request.input.note}
'''
CONFIGURATION = '''
security:
  - {name: partner.key, type: apikey, header: X-Partner, password: "key of partner", roles: [reader]}
  - {name: query.key, type: apikey, query: pkey, password: "key/of+query=", roles: [writer]}
  - {name: old.account, type: tech_account, username: old, password: "pass of old"}
  - {name: a.user, type: basic_auth, username: ann, realm: API, password: "pass of ann"}
  - {name: other.user, type: basic_auth, username: bob, realm: API, password: "pass of bob", roles: [reader]}
  - {name: watcher, type: apikey, header: X-Watch, password: "key of watcher", roles: [monitor]}
  - {name: bank.wss, type: wss, username: bank, password: "pass of bank", password_type: digest,
     reject_empty_nonce_creat: true, reject_stale_tokens: true, reject_expiry_limit: 3600, nonce_freshness_time: 3600}
  - {name: text.wss, type: wss, username: bank, password: "pass of bank", reject_empty_nonce_creat: false}
  - {name: body.user, type: xpath, username_expr: "//u", password_expr: "//p", username: u, password: "pass of u"}
groups:
  - {name: partners, members: [partner.key, query.key, a.user, other.user, old.account]}
channel_rest:
  - {name: sec.key, url_path: /sec/key, service: sec.who, security: partner.key, data_format: json}
  - {name: sec.query, url_path: /sec/query, service: sec.who, security: query.key, data_format: json}
  - {name: sec.tech, url_path: /sec/tech, service: sec.who, security: old.account, data_format: json}
  - {name: sec.group, url_path: /sec/group, service: sec.who, groups: [partners], data_format: json}
  - {name: sec.readers, url_path: /sec/readers, service: sec.who, groups: [partners], roles: [reader],
     data_format: json}
  - {name: sec.xpath, url_path: /sec/xpath, service: sec.who, security: body.user, data_format: xml}
  - {name: sec.internal, url_path: /sec/internal, service: zato.service.get-list, security: a.user, data_format: json}
channel_soap:
  - {name: sec.soap, url_path: /sec/soap, soap_action: who, service: sec.soap-who, security: bank.wss}
  - {name: sec.text, url_path: /sec/text, soap_action: who, service: sec.soap-who, security: text.wss}
'''
WSDL = '''<?xml version="1.0"?>
<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:s="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:t="urn:who"
  xmlns:x="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:who">
<types><x:schema targetNamespace="urn:who" elementFormDefault="qualified">
<x:element name="Who"><x:complexType><x:sequence><x:element name="note" type="x:string"/></x:sequence></x:complexType>
</x:element>
<x:element name="WhoResponse"><x:complexType><x:sequence><x:any minOccurs="0" maxOccurs="unbounded"
  processContents="skip" namespace="##any"/></x:sequence></x:complexType></x:element></x:schema></types>
<message name="in"><part name="p" element="t:Who"/></message>
<message name="out"><part name="p" element="t:WhoResponse"/></message>
<portType name="P"><operation name="Who"><input message="t:in"/><output message="t:out"/></operation></portType>
<binding name="B" type="t:P"><s:binding transport="http://schemas.xmlsoap.org/soap/http"/>
<operation name="Who"><s:operation soapAction="who"/><input><s:body use="literal"/></input>
<output><s:body use="literal"/></output></operation></binding>
<service name="S"><port name="Port" binding="t:B"><s:address location="ADDRESS"/></port></service>
</definitions>'''
ACTION = {'SOAPAction': '"who"', 'Content-Type': 'text/xml; charset=utf-8'}
SECRETS = ('key of partner', 'key/of+query=', 'key%2Fof', 'pass of', 'key of watcher', 'new secret')


def extend(broker: Broker) -> None:
    broker.serve('sec.py', SERVICES)
    broker.configure(CONFIGURATION)


class SecurityCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker: Broker = two_servers().extend('security', extend)

    def url(self, path: str, server: int = 1) -> str:
        return f'http://127.0.0.1:{self.broker.port(server)}{path}'

    def curl(self, path: str, *options: str, server: int = 1) -> tuple[int, Any]:
        """Status and body, as JSON where it is that."""
        done = subprocess.run(['curl', '-sS', '-w', '\\n%{http_code}', *options, self.url(path, server)],
                              capture_output=True, text=True, check=True, timeout=60)
        body, _, status = done.stdout.rpartition('\n')
        return int(status), json.loads(body) if body.startswith(('{', '[')) else body

    def challenges(self, path: str, *options: str) -> list[str]:
        done = subprocess.run(['curl', '-sS', '-o', '/dev/null', '-D', '-', *options, self.url(path)],
                              capture_output=True, text=True, check=True, timeout=60)
        return [line.partition(': ')[2] for line in done.stdout.splitlines()
                if line.lower().startswith('www-authenticate')]

    def public(self, service: str, payload: Any, status: int = 200) -> Any:
        """The public API, as pubapi."""
        answer = self.broker.ask('POST', f'/zato/json/{service}', fields=self.broker.pubapi(),
                                 body=json.dumps(payload).encode())
        self.assertEqual(answer.status, status, answer.body)
        return json.loads(answer.body)


class KeyTests(SecurityCase):
    def test_api_keys(self) -> None:
        """In a header and in the query, on both servers."""
        for server in (1, 2):
            status, who = self.curl('/sec/key', '-H', 'X-Partner: key of partner', server=server)
            self.assertEqual((status, who['name'], who['kind'], who['roles']),
                             (200, 'partner.key', 'apikey', ['reader']))
            status, who = self.curl('/sec/query', '-G', '--data-urlencode', 'pkey=key/of+query=', server=server)
            self.assertEqual((status, who['name']), (200, 'query.key'))
        for options in ((), ('-H', 'X-Partner: wrong'), ('-H', 'X-Partner;')):
            self.assertEqual(self.curl('/sec/key', *options)[0], 401)
        self.assertEqual(self.challenges('/sec/key'), ['zato-apikey'])

    def test_keys_in_the_query_are_masked(self) -> None:
        """In the access log, also where the parameter has a name that no other program has."""
        self.curl('/sec/query?a=1&pkey=key%2Fof%2Bquery%3D&b=2')
        self.broker.logged('/sec/query?a=1&pkey=***&b=2')

    def test_technical_accounts(self) -> None:
        """With Zato's two headers."""
        right = ('-H', 'X-Zato-User: old', '-H', 'X-Zato-Password: pass of old')
        status, who = self.curl('/sec/tech', *right)
        self.assertEqual((status, who['username'], who['kind']), (200, 'old', 'tech_account'))
        self.assertEqual(self.curl('/sec/tech', *right[:2], '-H', 'X-Zato-Password: wrong')[0], 401)
        self.assertEqual(self.challenges('/sec/tech'), ['zato-tech-acc'])

    def test_xpath(self) -> None:
        """In the body."""
        xml = ('-H', 'Content-Type: application/xml', '--data')
        status, who = self.curl('/sec/xpath', *xml, '<r><u>u</u><p>pass of u</p></r>')
        self.assertEqual(status, 200, who)
        self.assertIn('body.user', who)
        for body in ('<r><u>u</u><p>wrong</p></r>', '<r/>', '<r><u>u</u><u>u</u><p>pass of u</p></r>'):
            self.assertEqual(self.curl('/sec/xpath', *xml, body)[0], 401, body)
        self.assertEqual(self.challenges('/sec/xpath', *xml, '<r/>'), ['zato-xpath'])

    def test_large_bodies_of_unknown_length(self) -> None:
        """Who is let in sends all of it, also where that takes a hash or stands in the body itself; others have their
        answer, and hear it, before all is sent."""

        def chunked(body: bytes) -> tuple[str, ...]:
            file = Path(self.mktemp())
            file.write_bytes(body)
            return '-H', 'Transfer-Encoding: chunked', '-H', 'Expect:', '--data-binary', f'@{file}'

        large = chunked(b'"%b"' % (b'x' * 3_000_000))
        for options, status in (
            (('-u', 'ann:pass of ann'), 200), (('-H', 'X-Partner: key of partner'), 200), ((), 401),
            (('-u', 'ann:wrong'), 401),
        ):  # fmt: skip
            self.assertEqual(self.curl('/sec/group', *options, *large)[0], status, options)
        for password, status in (('pass of u', 200), ('wrong', 401)):
            document = f'<r><u>u</u><p>{password}</p><note>{"x" * 3_000_000}</note></r>'.encode()
            self.assertEqual(self.curl('/sec/xpath', *chunked(document))[0], status, password)

    def test_groups(self) -> None:
        """Any member, by its own name; whoever is none gets all challenges."""
        for options, name in (
            (('-H', 'X-Partner: key of partner'), 'partner.key'), (('-u', 'ann:pass of ann'), 'a.user'),
            (('-u', 'bob:pass of bob'), 'other.user'),
            (('-H', 'X-Zato-User: old', '-H', 'X-Zato-Password: pass of old'), 'old.account'),
            (('-u', 'ann:wrong', '-H', 'X-Partner: key of partner'), 'partner.key'),
        ):
            self.assertEqual(self.curl('/sec/group', *options)[1].get('name'), name, options)
        self.assertEqual(self.curl('/sec/group?pkey=key%2Fof%2Bquery%3D')[1]['name'], 'query.key')
        self.assertEqual(self.curl('/sec/group', '-u', 'ann:pass of bob')[0], 401)
        self.assertEqual(self.challenges('/sec/group'), ['zato-apikey', 'Basic realm="API"', 'zato-tech-acc'])

    def test_roles(self) -> None:
        """401 for whom nobody knows, 403 for whom it is not meant."""
        self.assertEqual(self.curl('/sec/readers', '-u', 'bob:pass of bob')[0], 200)
        status, told = self.curl('/sec/readers', '-u', 'ann:pass of ann')
        self.assertEqual((status, told['zato_env']['details']), (403, 'You are not allowed to access this resource'))
        self.assertEqual(self.curl('/sec/readers', '-u', 'ann:wrong')[0], 401)

    def test_the_brokers_own_services(self) -> None:
        """A user's channel does not open them, nor does pubapi reach what is for administrators; a definition with the
        role monitor reads metrics and no more."""
        self.assertEqual(self.curl('/sec/internal', '-u', 'ann:pass of ann')[0], 403)
        self.public('zato.service.get-list', {})
        for service, payload in (('zato.history.get-list', {}), ('zato.enmasse.export', {}),
                                 ('zato.logging.set-level', {'level': 'info'})):
            self.public(service, payload, 403)
        status, metrics = self.curl('/zato/metrics', '-H', 'X-Watch: key of watcher')
        self.assertEqual(status, 200)
        self.assertIn('# TYPE', metrics)
        self.assertEqual(self.curl('/zato/metrics', '-H', 'X-Partner: key of partner')[0], 401)
        self.assertEqual(self.curl('/zato/api/invoke/zato.ping', '-H', 'X-Watch: key of watcher')[0], 401)

    def test_a_password_that_changes(self) -> None:
        """Is in force on both servers when the answer is out, of every type; the old one is not."""
        ways = {
            'zato.security.apikey': ('live.key', '/live/key', lambda word: ('-H', f'X-API-Key: {word}')),
            'zato.security.tech-account': ('live.tech', '/live/tech', lambda word: (
                '-H', 'X-Zato-User: live.tech', '-H', f'X-Zato-Password: {word}')),
            'zato.security.xpath': ('live.xpath', '/live/xpath', lambda word: (
                '-H', 'Content-Type: application/xml', '--data', f'<r><u>u</u><p>{word}</p></r>')),
        }  # fmt: skip
        more = {'zato.security.xpath': {'username': 'u', 'username_expr': '//u', 'password_expr': '//p'}}
        for prefix, (name, path, credentials) in ways.items():
            made = self.public(f'{prefix}.create', {'cluster_id': 1, 'name': name, 'is_active': True,
                                                    **more.get(prefix, {})})
            (answer,) = [value for key, value in made.items() if key != 'zato_env']
            self.public('zato.http-soap.create', {
                'cluster_id': 1, 'name': path, 'is_active': True, 'connection': 'channel', 'transport': 'plain_http',
                'is_internal': False, 'url_path': path, 'service': 'sec.who', 'security_id': answer['id'],
                'data_format': 'xml' if 'xpath' in prefix else 'json',
            })  # fmt: skip
            before = ''
            for word in ('first', 'new secret'):
                self.public(f'{prefix}.change-password', {'id': answer['id'], 'password1': word, 'password2': word})
                for server in (1, 2):
                    until(lambda: self.curl(path, *credentials(word), server=server)[0] == 200,  # noqa: B023
                          f'{prefix} on server {server}')
                    if before:
                        self.assertEqual(self.curl(path, *credentials(before), server=server)[0], 401)
                before = word

    def test_a_technical_account_stays(self) -> None:
        """It does not delete itself."""
        made = self.public('zato.security.tech-account.create', {'cluster_id': 1, 'name': 'self', 'is_active': True})
        account = made['zato_security_tech_account_create_response']
        deleting = {'id': account['id'], 'current_tech_account_name': 'self'}
        self.public('zato.security.tech-account.delete', deleting, 409)
        self.public('zato.security.tech-account.delete', {'id': account['id']})

    def test_no_secret_is_in_a_log_or_an_answer(self) -> None:
        """Of all these types."""
        self.public('zato.security.get-list', {'cluster_id': 1})
        said = json.dumps(self.public('zato.security.get-list', {'cluster_id': 1}))
        said += self.broker.must('enmasse', str(self.broker.path), '--export')
        for server in (1, 2):
            said += self.broker.log(server)
        for secret in SECRETS:
            self.assertNotIn(secret, said)


class WsSecurityCase(SecurityCase):
    def client(self, path: str, token: Any, server: int = 1) -> tuple[Any, HistoryPlugin]:
        file = Path(self.mktemp())
        file.write_text(WSDL.replace('ADDRESS', self.url(path, server)))
        history = HistoryPlugin()
        client = Client(str(file), wsse=token, plugins=[history], transport=Transport(timeout=120))
        return client.service, history

    def send(self, envelope: Any, server: int, path: str = '/sec/soap') -> Any:
        return ask(self.broker.port(server), 'POST', path, fields=ACTION, body=etree.tostring(envelope))


class WsSecurityTests(WsSecurityCase):
    def test_zeep(self) -> None:
        """A digest where the definition wants one, text where it wants that, and nothing else."""
        for path, options, works in (
            ('/sec/soap', {'use_digest': True}, True), ('/sec/text', {}, True), ('/sec/soap', {}, False),
            ('/sec/text', {'use_digest': True}, False),
        ):
            service, _ = self.client(path, UsernameToken('bank', 'pass of bank', **options))
            if works:
                service.Who(note='x')
            else:
                self.assertRaises(Fault, service.Who, note='x')
        for name, password in (('bank', 'wrong'), ('other', 'pass of bank')):
            service, _ = self.client('/sec/soap', UsernameToken(name, password, use_digest=True))
            fault = self.assertRaises(Fault, service.Who, note='x')
            self.assertIn('FailedAuthentication', str(fault.code))
        service, _ = self.client('/sec/soap', None)
        self.assertRaises((Fault, TransportError), service.Who, note='x')

    def test_replayed_on_the_other_server(self) -> None:
        """What one server took, no server takes again: 401 as a fault, with the challenge zato-wss."""
        service, history = self.client('/sec/soap', UsernameToken('bank', 'pass of bank', use_digest=True))
        service.Who(note='x')
        sent = history.last_sent['envelope']
        for server in (2, 1):
            answer = self.send(sent, server)
            self.assertEqual((answer.status, answer.field('www-authenticate')), (401, 'zato-wss'))
            self.assertIn(b'FailedAuthentication', answer.body)
            self.assertTrue(etree.fromstring(answer.body).tag.endswith('Envelope'))

    def test_created_in_the_future_and_long_ago(self) -> None:
        """Neither is taken, though password and digest are right."""
        for minutes in (5, 60 * 24, -61):
            created = datetime.now(UTC) + timedelta(minutes=minutes)
            token = UsernameToken('bank', 'pass of bank', use_digest=True, created=created)
            service, _ = self.client('/sec/soap', token)
            self.assertRaises(Fault, service.Who, note='x')

    def test_wrapping(self) -> None:
        """A good token that was moved elsewhere, or has company, admits nobody."""
        service, _ = self.client('/sec/soap', UsernameToken('bank', 'pass of bank', use_digest=True))
        for change in (self.into_body, self.doubled, self.with_another, self.deeper):
            # The message is made and not sent, so that its nonce is new.
            made = service._client.create_message(service, 'Who', note='x')
            change(made)
            answer = self.send(made, 1)
            self.assertIn(answer.status, (400, 401), change.__name__)
            self.assertIn(b'Fault', answer.body)
        made = service._client.create_message(service, 'Who', note='x')
        self.assertEqual(self.send(made, 1).status, 200)

    def into_body(self, envelope: Any) -> None:
        header, body = envelope
        body.append(header[0])

    def doubled(self, envelope: Any) -> None:
        header, _ = envelope
        header.append(etree.fromstring(etree.tostring(header[0])))

    def with_another(self, envelope: Any) -> None:
        etree.SubElement(envelope[0][0], '{urn:x}Unknown')

    def deeper(self, envelope: Any) -> None:
        header, _ = envelope
        etree.SubElement(header, '{urn:x}Wrapper').append(header[0])


class WithoutRedisTests(WsSecurityCase):
    def test_nobody_is_let_in_of_whom_it_cannot_be_said(self) -> None:
        """Digests are refused with 503 within 5 seconds while Redis is unavailable, and taken again when it is
        back; what needs no Redis goes on."""
        service, _ = self.client('/sec/soap', UsernameToken('bank', 'pass of bank', use_digest=True))
        service.Who(note='x')
        self.addCleanup(self.broker.start)
        self.broker.kill('redis')
        made = service._client.create_message(service, 'Who', note='x')
        answer = self.send(made, 1)
        self.assertEqual(answer.status, 503, answer.body)
        self.assertIn(b'Fault', answer.body)
        self.assertEqual(self.curl('/sec/key', '-H', 'X-Partner: key of partner')[0], 200)
        self.broker.start()
        for server in (1, 2):
            until(lambda: self.send(service._client.create_message(service, 'Who', note='x'), server).status == 200,  # noqa: B023
                  f'WS-Security again on server {server}')
