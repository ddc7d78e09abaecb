"""The load balancer's agent over real TLS: who is let in, who is refused and logged, and what it changes."""

from __future__ import annotations

import json
import resource
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from trial_tests.support.balancer_control import FakeBalancerControl
from trial_tests.support.reactor import reactor
from zatotx.ca.certificate_authority import CertificateAuthority
from zatotx.ca.certificate_builder import PROFILES
from zatotx.ca.certificate_names import CertificateSubject
from zatotx.lb.agent import agent_application
from zatotx.lb.agent.agent_service import AgentService
from zatotx.lb.config import model
from zatotx.model.errors import StartError
from zatotx.processes import mutual_tls
from zatotx.processes.lb_agent_client import AgentClientFiles, AgentUnreachableError, LoadBalancerAgentClient
from zatotx.tap.build_lb_agent import ConfiguredAgent, make_load_balancer_agent
from zatotx.testing.log_recorder import LogRecorder
from zatotx.wire.lb_agent_messages import AgentCallError

TIMEOUT = 10.0


class AgentTestCase(TestCase):
    """An authority, an agent with a certificate of it, and the certificate of a client, `web-admin`."""

    timeout = 60.0

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.authority = self.make_authority('ca')
        self.issue('lb-agent')
        self.client_files = self.issue('web-admin')
        self.control = FakeBalancerControl()
        self.log = LogRecorder()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)

    def make_authority(self, name: str, now: Callable[[], datetime] | None = None) -> CertificateAuthority:
        path = self.directory / name
        path.mkdir(parents=True)
        return CertificateAuthority.create(path, CertificateSubject(name), now=now or (lambda: datetime.now(UTC)))

    def issue(self, profile: str, *, name: str = '', authority: CertificateAuthority | None = None,
              organization: str = 'Bank') -> AgentClientFiles:  # fmt: skip
        by = authority or self.authority
        issued = by.issue(
            PROFILES[profile], name or profile, CertificateSubject(name or profile, organization=organization)
        )
        return AgentClientFiles(issued.certificate, issued.key, self.authority.store.certificate)

    def start(self, **settings: Any) -> AgentService:
        out = self.directory / 'ca'
        values = {
            'listen': '127.0.0.1:0', 'enabled': True, 'certificate': str(out / 'out-cert' / 'lb-agent-cert.pem'),
            'key': str(out / 'out-priv' / 'lb-agent-priv.pem'), 'ca': str(out / 'ca-material' / 'ca-cert.pem'),
            'crl': str(out / 'ca-material' / 'ca-crl.pem'), **settings,
        }  # fmt: skip
        agent = AgentService(model.AgentSettings(**values), self.directory, self.control, reactor)
        agent.startService()
        self.addCleanup(agent.stopService)
        return agent

    def port(self, agent: AgentService) -> int:
        assert agent.port is not None
        address: Any = agent.port.getHost()
        return int(address.port)

    def client(
        self, agent: AgentService, files: AgentClientFiles | None = None, **options: Any
    ) -> LoadBalancerAgentClient:
        return LoadBalancerAgentClient(reactor, '127.0.0.1', self.port(agent), files or self.client_files, **options)

    def logged(self, part: str) -> list[str]:
        return [text for text in (record.getMessage() for record in self.log.records) if part in text]

    async def until(self, is_true: Callable[[], object]) -> None:
        end = reactor.seconds() + TIMEOUT
        while not is_true():
            if reactor.seconds() > end:
                raise AssertionError(f'It does not come: {[record.getMessage() for record in self.log.records]}')
            waiting: Deferred[None] = Deferred()
            reactor.callLater(0.01, waiting.callback, None)
            await waiting

    async def until_logged(self, part: str) -> str:
        """Wait for a line of the log: the server logs a refusal when it has lost the connection."""
        await self.until(lambda: self.logged(part))
        return self.logged(part)[0]

    async def assert_refused(self, agent: AgentService, files: AgentClientFiles, reason: str) -> str:
        """The call fails, the agent does nothing, and logs the reason with the client's address."""
        with self.assertRaises(AgentUnreachableError):
            await self.client(agent, files).call('ping')
        line = await self.until_logged('The agent refused a client at 127.0.0.1:')
        self.assertIn(reason, line)
        return line


def resident_memory() -> int:
    """The memory of this process in bytes."""
    return int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize()


class RefusalTests(AgentTestCase):
    async def test_let_in(self) -> None:
        """A client with a valid certificate of the authority is served, over TLS 1.2 and 1.3."""
        agent = self.start()
        self.assertEqual(await self.client(agent).call('ping'), 'ZATO_OK')
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            status, body = await deferToThread(self.post, self.port(agent), version)
            self.assertEqual((status, json.loads(body)), (200, {'result': 'ZATO_OK'}))
        self.assertEqual(self.logged('refused'), [])

    def context(self, version: ssl.TLSVersion) -> ssl.SSLContext:
        """Python's strict verification of the agent's certificate."""
        context = ssl.create_default_context(cafile=str(self.authority.store.certificate))
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.minimum_version = context.maximum_version = version
        context.load_cert_chain(self.client_files.certificate, self.client_files.key)
        return context

    def post(self, port: int, version: ssl.TLSVersion) -> tuple[int, bytes]:
        import http.client

        connection = http.client.HTTPSConnection('localhost', port, timeout=TIMEOUT, context=self.context(version))
        connection.request('POST', '/api/ping')
        response = connection.getresponse()
        return response.status, response.read()

    async def test_no_certificate(self) -> None:
        """A client without a certificate is refused, with both versions of TLS."""
        agent = self.start()

        def connect(version: ssl.TLSVersion) -> None:
            context = ssl.create_default_context(cafile=str(self.authority.store.certificate))
            context.minimum_version = context.maximum_version = version
            with socket.create_connection(('127.0.0.1', self.port(agent)), TIMEOUT) as plain, \
                    context.wrap_socket(plain, server_hostname='localhost') as wrapped:  # fmt: skip
                wrapped.sendall(b'POST /api/ping HTTP/1.1\r\nHost: x\r\n\r\n')
                if not wrapped.recv(1):
                    raise ConnectionError('closed')

        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with self.assertRaises(OSError):
                await deferToThread(connect, version)
            self.assertIn('it has no certificate', await self.until_logged('The agent refused a client at 127.0.0.1:'))
            self.log.records.clear()

    async def test_wrong_authority(self) -> None:
        """A certificate of another authority is refused, of the same name too."""
        agent = self.start()
        other = self.make_authority('other/ca')
        await self.assert_refused(agent, self.issue('web-admin', authority=other), 'is not signed by')

    async def test_self_signed(self) -> None:
        """The certificate of another authority itself is refused."""
        agent = self.start()
        other = self.make_authority('other/x')
        files = AgentClientFiles(other.store.certificate, other.store.key, self.authority.store.certificate)
        await self.assert_refused(agent, files, 'is signed by itself')

    async def test_revoked(self) -> None:
        """A revoked certificate is refused from the next connection on, without a restart; others are served."""
        agent = self.start()
        other = self.issue('client', name='cli')
        self.assertEqual(await self.client(agent).call('ping'), 'ZATO_OK')
        self.authority.revoke('web-admin')
        await self.assert_refused(agent, self.client_files, "OU=My Unit,O=Bank,L=My Town,ST=My State,C=US' (serial ")
        self.assertIn('was revoked', self.logged('refused')[0])
        self.assertEqual(await self.client(agent, other).call('ping'), 'ZATO_OK')

    async def test_expired_list(self) -> None:
        """An expired revocation list refuses everybody, until there is a new one."""
        long_ago = CertificateAuthority(
            self.authority.store.directory, now=lambda: datetime.now(UTC) - timedelta(days=31)
        )
        long_ago.sign_revocation_list()
        agent = self.start()
        await self.assert_refused(agent, self.client_files, 'cannot be checked: the revocation list has expired')
        self.authority.sign_revocation_list()
        self.assertEqual(await self.client(agent).call('ping'), 'ZATO_OK')

    async def test_list_of_another_authority(self) -> None:
        """A list that the authority has not signed refuses everybody."""
        other = self.make_authority('other/x')
        agent = self.start(crl=str(other.store.revocation_list))
        await self.assert_refused(agent, self.client_files, 'there is no revocation list of who signed it')

    async def test_wrong_subject(self) -> None:
        """With verify_fields, a certificate of the authority needs the right subject, too."""
        agent = self.start(verify_fields={'commonName': 'web-admin', 'O': 'Bank'})
        self.assertEqual(await self.client(agent).call('ping'), 'ZATO_OK')
        files = self.issue('client', name='partner', organization='Shop')
        line = await self.assert_refused(agent, files, 'has the wrong subject')
        self.assertIn("commonName is not 'web-admin', O is not 'Bank'", line)

    async def test_not_for_clients(self) -> None:
        """The certificate of a server does not authenticate a client."""
        agent = self.start()
        await self.assert_refused(agent, self.issue('server', name='qs-server1'), 'is not made for clients')

    async def test_expired_certificate(self) -> None:
        """An expired certificate is refused."""
        agent = self.start()
        long_ago = CertificateAuthority(
            self.authority.store.directory, now=lambda: datetime.now(UTC) - timedelta(days=400)
        )
        await self.assert_refused(agent, self.issue('client', name='old', authority=long_ago), 'has expired')

    async def test_plain_text(self) -> None:
        """Bytes that are no TLS are refused and logged."""
        agent = self.start()

        def connect() -> bytes:
            with socket.create_connection(('127.0.0.1', self.port(agent)), TIMEOUT) as plain:
                plain.sendall(b'POST /api/ping HTTP/1.1\r\nHost: x\r\n\r\n')
                received = b''
                while data := plain.recv(1000):
                    received += data
                return received

        self.assertNotIn(b'ZATO_OK', await deferToThread(connect))
        self.assertIn('the TLS handshake failed', await self.until_logged('refused a client'))

    async def test_silence(self) -> None:
        """A client that does not finish its handshake is disconnected and logged."""
        self.patch(agent_application, 'IDLE_TIMEOUT', 0.2)
        agent = self.start()

        def connect() -> bytes:
            with socket.create_connection(('127.0.0.1', self.port(agent)), TIMEOUT) as plain:
                try:
                    return plain.recv(1)
                except ConnectionResetError:
                    return b''

        self.assertEqual(await deferToThread(connect), b'')
        self.assertIn('or was too slow', await self.until_logged('refused a client'))

    async def test_flood(self) -> None:
        """Clients that begin handshakes and do not finish them keep nobody out: at the limit, the oldest of them makes
        room."""
        self.patch(mutual_tls, 'MAX_CONNECTIONS', 10)
        agent = self.start()

        def flood() -> None:
            for _ in range(30):
                connection = socket.create_connection(('127.0.0.1', self.port(agent)), TIMEOUT)
                self.addCleanup(connection.close)

        await deferToThread(flood)
        self.assertEqual(await self.client(agent).call('ping'), 'ZATO_OK')
        self.assertGreaterEqual(len(self.logged('10 are open already')), 20)

    async def test_endless_garbage(self) -> None:
        """What a client sends after its handshake has failed is not kept."""
        self.patch(mutual_tls, 'LINGER', 1.0)
        agent = self.start()

        def send() -> int:
            sent, piece = 0, b'x' * 1_000_000
            with socket.create_connection(('127.0.0.1', self.port(agent)), TIMEOUT) as plain:
                try:
                    while sent < 60 * len(piece):
                        sent += plain.send(piece)
                except OSError:
                    return sent
            return sent

        before = resident_memory()
        sent = await deferToThread(send)
        self.assertGreater(sent, 0)
        self.assertLess(resident_memory() - before, 20_000_000)
        await self.until_logged('refused a client')

    async def test_client_that_stays(self) -> None:
        """A client that does not close its connection after the response is disconnected."""
        self.patch(mutual_tls, 'LIFETIME', 0.5)
        agent = self.start()
        context = self.context(ssl.TLSVersion.TLSv1_3)

        def connect() -> bytes:
            with socket.create_connection(('127.0.0.1', self.port(agent)), TIMEOUT) as plain:
                wrapped = context.wrap_socket(plain, server_hostname='localhost')
                wrapped.sendall(b'POST /api/ping HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n')
                answer = wrapped.recv(1000)
                descriptor = wrapped.detach()
                with socket.socket(fileno=descriptor) as raw:  # without TLS, so nothing is said about an end
                    raw.settimeout(TIMEOUT)
                    try:
                        while raw.recv(1000):
                            pass  # the end of TLS
                    except ConnectionResetError:
                        return answer
                return answer

        self.assertIn(b'200 OK', await deferToThread(connect))

    async def test_too_many(self) -> None:
        """If all connections at the limit have finished their handshakes, a new one is closed at once, and logged."""
        self.patch(mutual_tls, 'MAX_CONNECTIONS', 1)
        agent = self.start()
        context = self.context(ssl.TLSVersion.TLSv1_2)
        first = await deferToThread(lambda: context.wrap_socket(
            socket.create_connection(('127.0.0.1', self.port(agent)), TIMEOUT), server_hostname='localhost'
        ))  # fmt: skip
        with self.assertRaises(AgentUnreachableError):
            await self.client(agent).call('ping')
        self.assertTrue(self.logged('1 are open already'))
        first.close()

    async def test_no_resumption(self) -> None:
        """A session of before the revocation does not let a client in."""
        agent = self.start()

        def connect(context: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[bytes, ssl.SSLSession | None]:
            with socket.create_connection(('127.0.0.1', self.port(agent)), TIMEOUT) as plain, \
                    context.wrap_socket(plain, server_hostname='localhost', session=session) as wrapped:  # fmt: skip
                wrapped.sendall(b'POST /api/ping HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n')
                return wrapped.recv(1000), wrapped.session

        sessions = []
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.context(version)
            answer, session = await deferToThread(connect, context, None)
            self.assertIn(b'200 OK', answer)
            sessions.append((context, session))
        self.authority.revoke('web-admin')
        for context, session in sessions:
            with self.assertRaises(OSError):
                answer, _ = await deferToThread(connect, context, session)
                raise OSError if not answer else AssertionError(answer)


class RenewalTests(AgentTestCase):
    async def test_renewed_certificate(self) -> None:
        """A renewed certificate is served from the next connection on; a connection that is open goes on."""
        agent = self.start()

        def serial() -> int:
            context = ssl.create_default_context(cafile=str(self.authority.store.certificate))
            context.load_cert_chain(self.client_files.certificate, self.client_files.key)
            with socket.create_connection(('127.0.0.1', self.port(agent)), TIMEOUT) as plain, \
                    context.wrap_socket(plain, server_hostname='localhost') as wrapped:  # fmt: skip
                certificate = wrapped.getpeercert()
                assert certificate is not None
                return int(str(certificate['serialNumber']), 16)

        before = await deferToThread(serial)
        renewed = self.authority.renew('lb-agent')
        after = await deferToThread(serial)
        self.assertNotEqual(before, after)
        self.assertEqual(after, int(renewed.serial, 16))
        self.assertTrue(self.logged('New connections use the certificates that are on disk now'))

    async def test_renewed_authority(self) -> None:
        """A renewed authority, with the same key, is trusted at once; its old certificates are valid."""
        agent = self.start()
        self.authority.renew('ca')
        self.assertEqual(await self.client(agent).call('ping'), 'ZATO_OK')

    async def test_unusable_files(self) -> None:
        """Files that cannot be used are logged once, and the old ones stay in force."""
        out = self.directory / 'copied'
        out.mkdir()
        for name, path in (('cert', self.authority.store.current('lb-agent', 'cert')),
                           ('key', self.authority.store.current('lb-agent', 'priv')),
                           ('crl', self.authority.store.revocation_list)):  # fmt: skip
            (out / name).write_bytes(path.read_bytes())
        agent = self.start(certificate='copied/cert', key='copied/key', crl='copied/crl')
        for name, sentence in (('cert', 'holds no certificate'), ('key', 'no private key'),
                               ('crl', 'no certificate revocation list')):  # fmt: skip
            good = (out / name).read_bytes()
            (out / name).write_text('?')
            for _ in range(2):
                self.assertEqual(await self.client(agent).call('ping'), 'ZATO_OK')
            self.assertEqual(len(self.logged(sentence)), 1, name)
            (out / name).write_bytes(good)
        (out / 'crl').unlink()
        self.assertEqual(await self.client(agent).call('ping'), 'ZATO_OK')
        self.assertEqual(len(self.logged('cannot be read: No such')), 1)

    async def test_files_at_start(self) -> None:
        """What is wrong with the files is one sentence at the start."""
        other = self.issue('client', name='x')
        for settings, sentence in (
            ({'key': str(other.key)}, 'is not the key of'),
            ({'ca': 'missing.pem'}, 'missing.pem cannot be read: No such file'),
            ({'ca': ''}, '[agent] ca: missing beside certificate'),
            ({'listen': 'x'}, "'x' is not HOST:PORT"),
            ({'verify_fields': {'mood': 'x', 'CN': 'y', 'face': 'z'}}, "'mood' is not a field"),
            ({'certificate': '', 'listen': '0.0.0.0:0'}, 'without TLS the agent may listen on a loopback address only'),
        ):  # fmt: skip
            error = self.assertRaises(StartError, self.start, **settings)
            self.assertIn(sentence, str(error))


class CallTests(AgentTestCase):
    async def test_changes_are_logged_with_the_subject(self) -> None:
        """A change through the client has effect, and the log has the subject of its certificate."""
        client = self.client(self.start())
        await client.call('set_server_state', name='server1', state='drain')
        self.assertEqual(await client.call('get_servers_state'),
                         {'UP': {'plain': ['server2']}, 'DOWN': {}, 'MAINT': {}, 'DRAIN': {'plain': ['server1']}})
        (line,) = self.logged('set the server')
        self.assertTrue(line.startswith('CN=web-admin,OU=My Unit,O=Bank'), line)

    async def test_errors(self) -> None:
        """Errors of a call arrive with all mistakes, and the status."""
        client = self.client(self.start())
        with self.assertRaises(AgentCallError) as caught:
            await client.call('validate_save_source_code', source='[', save=True)
        self.assertEqual(caught.exception.status, 400)
        self.assertIn('not valid TOML', caught.exception.errors[0])
        with self.assertRaises(AgentCallError) as caught:
            await client.call('nothing')
        self.assertEqual(caught.exception.status, 404)

    async def test_slow_change(self) -> None:
        """A call that takes too long is answered; the change goes on, and is made although its client has left."""
        self.patch(agent_application, 'CALL_TIMEOUT', 0.2)
        agent = self.start()
        self.control.pending = Deferred()
        with self.assertRaises(AgentCallError) as caught:
            await self.client(agent).call('add_remove_server', action='add', name='server3')
        self.assertEqual(caught.exception.status, 504)
        self.control.pending.callback(None)
        self.assertIn('server3', self.control.source)

    async def test_client_that_leaves(self) -> None:
        """A change goes on when its client disconnects while it is made."""
        agent = self.start(certificate='')
        self.control.pending = Deferred()
        body = b'{"action": "add", "name": "server3"}'
        client = socket.create_connection(('127.0.0.1', self.port(agent)), TIMEOUT)
        client.sendall(b'POST /api/add_remove_server HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s'
                       % (len(body), body))  # fmt: skip
        await self.until(lambda: self.control.apply_calls)
        client.close()
        self.assertNotIn('server3', self.control.source)
        self.control.pending.callback(None)
        self.assertIn('server3', self.control.source)
        self.assertTrue(self.logged('added the server server3'))

    async def test_unexpected_error(self) -> None:
        """An unexpected error is answered without its text, which is in the log."""
        agent = self.start()
        self.control.source = '\0'
        with self.assertRaises(AgentCallError) as caught:
            await self.client(agent).call('get_servers_state')
        self.assertEqual((caught.exception.status, str(caught.exception)),
                         (500, 'The call failed: the log of the load balancer has the reason'))  # fmt: skip
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    async def test_without_tls(self) -> None:
        """Without a certificate in its settings, the agent serves plain HTTP on a loopback address."""
        agent = self.start(certificate='')
        client = LoadBalancerAgentClient(reactor, '127.0.0.1', self.port(agent), None)
        self.assertEqual(await client.call('ping'), 'ZATO_OK')
        await client.call('set_server_state', name='server1', state='maint')
        self.assertTrue(self.logged('a client without TLS set the server server1'))

    async def test_http(self) -> None:
        """Other methods and paths, bodies that are no JSON object or too large, are answered with a sentence."""
        self.patch(agent_application, 'MAX_MESSAGE', 1000)
        agent = self.start(certificate='')

        def ask(method: str, path: str, body: bytes = b'', fields: dict[str, str] | None = None) -> Any:
            import http.client

            connection = http.client.HTTPConnection('127.0.0.1', self.port(agent), timeout=TIMEOUT)
            connection.request(method, path, body, fields or {})
            response = connection.getresponse()
            self.assertEqual(response.getheader('connection'), 'close')
            return response.status, json.loads(response.read())

        for method, path, body, status, sentence in (
            ('GET', '/api/ping', b'', 405, 'Calls are sent with POST'),
            ('POST', '/', b'', 404, 'calls are below /api/'), ('GET', '/api/a/b', b'', 404, 'calls are below /api/'),
            ('POST', '/api/ping', b'[1]', 400, 'must be a JSON object'),
            ('POST', '/api/ping', b'{', 400, 'The body is not valid'),
            ('POST', '/api/ping', b' ' * 1001, 413, 'more than 1000 bytes'),
            ('POST', '/api/ping', b'{"x": 1}', 400, 'The arguments are not valid'),
        ):  # fmt: skip
            found, document = await deferToThread(ask, method, path, body)
            self.assertEqual(found, status, (method, path, body))
            self.assertIn(sentence, document['error']['message'])
        found, document = await deferToThread(ask, 'POST', '/api/ping', b'', {'Origin': 'http://127.0.0.1:1'})
        self.assertEqual((found, 'no web pages' in document['error']['message']), (403, True))


class OtherAuthorityTests(AgentTestCase):
    """Certificates that zatotx has not issued."""

    def make_certificate(
        self, name: str, issuer: tuple[x509.Certificate, RSAPrivateKey] | None, *, is_authority: bool
    ) -> tuple[x509.Certificate, RSAPrivateKey]:
        """A certificate with an RSA key and as few extensions as possible."""
        key = rsa.generate_private_key(65537, 2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(issuer[0].subject if issuer else subject, subject, key.public_key(),
                                    x509.random_serial_number(), now - timedelta(hours=1), now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        )  # fmt: skip
        if not is_authority:
            names = x509.SubjectAlternativeName([x509.IPAddress(ip_address('127.0.0.1'))])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(issuer[1] if issuer else key, SHA256()), key

    def write(self, name: str, *certificates: x509.Certificate, key: RSAPrivateKey | None = None) -> Path:
        path = self.directory / name
        content = b''.join(each.public_bytes(Encoding.PEM) for each in certificates)
        if key is not None:
            content += key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(content)
        return path

    async def test_two_authorities(self) -> None:
        """While one authority replaces another, the agent trusts both, and checks the revocation lists of both."""
        new = self.make_authority('new/ca')
        files = {}
        for name in ('certificate', 'revocation_list'):
            files[name] = self.directory / name
            files[name].write_bytes(
                b''.join(getattr(each.store, name).read_bytes() for each in (self.authority, new))
            )
        agent = self.start(ca=str(files['certificate']), crl=str(files['revocation_list']))
        second = self.issue('client', name='second', authority=new)
        for client in (self.client_files, second):
            self.assertEqual(await self.client(agent, client).call('ping'), 'ZATO_OK')
        new.revoke('second')
        files['revocation_list'].write_bytes(
            b''.join(each.store.revocation_list.read_bytes() for each in (self.authority, new))
        )
        await self.assert_refused(agent, second, 'was revoked')
        self.assertEqual(await self.client(agent).call('ping'), 'ZATO_OK')

    async def test_intermediate_authorities(self) -> None:
        """Agent and client send the intermediate certificates in their files; a file of authorities may hold several,
        as while one replaces another."""
        root = self.make_certificate('root', None, is_authority=True)
        between = self.make_certificate('between', root, is_authority=True)
        server = self.make_certificate('agent', between, is_authority=False)
        client = self.make_certificate('client', between, is_authority=False)
        authorities = self.write('ca.pem', self.authority.certificate(), root[0])
        agent = self.start(
            certificate=str(self.write('agent.pem', server[0], between[0])),
            key=str(self.write('agent.key', key=server[1])), ca=str(authorities), crl='',
        )  # fmt: skip
        files = AgentClientFiles(
            self.write('client.pem', client[0], between[0]), self.write('client.key', key=client[1]), authorities
        )
        self.assertEqual(await self.client(agent, files).call('ping'), 'ZATO_OK')
        await self.client(agent, files).call('set_server_state', name='server1', state='drain')
        self.assertTrue(self.logged('CN=client set the server server1'))


class ClientTests(AgentTestCase):
    async def test_unreachable(self) -> None:
        """An agent that does not run, and one that does not answer, are named within the timeout."""
        agent = self.start()
        client = self.client(agent, timeout=0.5)
        stopping = agent.stopService()
        assert stopping is not None
        await stopping
        with self.assertRaises(AgentUnreachableError) as caught:
            await client.call('ping')
        self.assertIn(f'{client.url} is unreachable', str(caught.exception))
        for frozen in self.frozen():
            began = reactor.seconds()
            slow = LoadBalancerAgentClient(reactor, '127.0.0.1', frozen, self.client_files, timeout=0.3)
            with self.assertRaises(AgentUnreachableError) as caught:
                await slow.call('ping')
            self.assertIn('did not respond within 0.3 s', str(caught.exception))
            self.assertLess(reactor.seconds() - began, TIMEOUT)

    def frozen(self) -> Iterator[int]:
        """The port of a peer that accepts and says nothing."""
        listener = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(listener.close)
        yield listener.getsockname()[1]

    async def test_certificate_of_the_agent(self) -> None:
        """The client refuses an agent whose certificate is of another authority, or for another host."""
        agent = self.start()
        other = self.make_authority('other/x')
        files = self.client_files._replace(authorities=other.store.certificate)
        with self.assertRaises(AgentUnreachableError) as caught:
            await self.client(agent, files).call('ping')
        self.assertIn(self.client(agent).url, str(caught.exception))

    async def test_files(self) -> None:
        """A missing or wrong file of the client is named; nothing of a key is in the sentence."""
        agent = self.start()
        for files in (self.client_files._replace(key=self.client_files.certificate),
                      self.client_files._replace(certificate=Path('missing'))):  # fmt: skip
            with self.assertRaises(AgentUnreachableError) as caught:
                await self.client(agent, files).call('ping')
            self.assertIn('The client certificate for', str(caught.exception))
            self.assertNotIn('BEGIN', str(caught.exception))


class ConfiguredAgentTests(AgentTestCase):
    """The agent as the load balancer's process runs it."""

    def service(self, **settings: Any) -> ConfiguredAgent:
        values = {
            'listen': '127.0.0.1:0', 'enabled': True, 'certificate': 'ca/out-cert/lb-agent-cert.pem',
            'key': 'ca/out-priv/lb-agent-priv.pem', 'ca': 'ca/ca-material/ca-cert.pem',
            'crl': 'ca/ca-material/ca-crl.pem', **settings,
        }  # fmt: skip
        service = make_load_balancer_agent(self.directory, self.control, lambda: model.AgentSettings(**values), reactor)
        assert isinstance(service, ConfiguredAgent)
        return service

    async def test_expired_list_is_renewed(self) -> None:
        """Where the authority's key is at hand, an expired list is signed again when the agent starts, and its clients
        are served."""
        path = self.authority.store.directory
        CertificateAuthority(path, now=lambda: datetime.now(UTC) - timedelta(days=31)).sign_revocation_list()
        service = self.service()
        service.startService()
        self.addCleanup(service.stopService)
        await self.until_logged('was signed again')
        agent = next(iter(service))
        assert isinstance(agent, AgentService)
        self.assertEqual(await self.client(agent).call('ping'), 'ZATO_OK')

    async def test_disabled(self) -> None:
        """A disabled agent does nothing."""
        service = self.service(enabled=False, certificate='missing')
        service.startService()
        self.assertEqual(list(service), [])

    async def test_address_in_use(self) -> None:
        """An address in use is a sentence."""
        taken = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(taken.close)
        port = taken.getsockname()[1]
        error = self.assertRaises(StartError, self.service(listen=f'127.0.0.1:{port}').startService)
        self.assertEqual(str(error), f'[agent] listen: 127.0.0.1:{port} cannot be used: Address already in use')
