"""TLS of the HTTP client: verification, client certificates, and error messages."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.authority import Authority
from zatotx.connectors.tls_settings import InvalidTlsSettings, TlsSettings, parse_tls_settings
from zatotx.plugins.http.client.errors import ConnectTimeout, PeerReset, TlsFailed
from zatotx.plugins.http.client.http_messages import HttpResponse
from zatotx.plugins.http.test.upstream_servers import (
    Peer,
    Request,
    Timeouts,
    TLSVersion,
    Upstream,
    WithPeers,
    ends,
    get,
    reactor,
    says,
    server_tls,
)
from zatotx.rules.http.tls_errors import describe_certificate_error, describe_handshake_error


class TlsCase(WithPeers):
    def setUp(self) -> None:
        self.files = Path(self.mktemp()).absolute()
        self.ca = Authority(self.files)
        self.pair = self.ca.sign('server', 'localhost', '127.0.0.1')

    def serve(self, pair: tuple[Path, Path] | None = None, **tls: Any) -> Upstream:
        """Start a TLS peer, by default with a certificate valid for localhost and 127.0.0.1."""
        return self.listen(says(body=b'hello'), tls=server_tls(pair or self.pair, **tls))

    async def call(self, upstream: Upstream, host: str = 'localhost', **tls: Any) -> HttpResponse:
        """Send a GET with a client that trusts our authority, unless `tls` says otherwise."""
        settings = TlsSettings(**{'ca': self.ca.path.read_text(), **tls})
        return await self.client(tls=settings).send(get(upstream.port, scheme='https', host=host))

    async def refused(self, upstream: Upstream, host: str = 'localhost', **tls: Any) -> str:
        """Return the error of such a call. The peer receives no request."""
        settings = TlsSettings(**{'ca': self.ca.path.read_text(), **tls})
        client = self.client(tls=settings)
        why = await self.failed(client.send(get(upstream.port, scheme='https', host=host)), TlsFailed)
        self.assertEqual(upstream.requests, [])
        self.assertEqual((client.client.active, client.client.idle, client.client.waiting), (0, 0, 0))
        await self.until(lambda: not upstream.peers)
        return why


class PeerTests(TlsCase):
    async def test_the_authority_of_a_connection(self) -> None:
        """A connection's own authority is trusted, for names and addresses."""
        upstream = self.serve()
        for host in ('localhost', '127.0.0.1'):
            self.assertEqual((await self.call(upstream, host)).body, b'hello')

    async def test_the_systems_authorities(self) -> None:
        """By default the system's authorities are trusted: here ours, set by OpenSSL's environment variable."""
        before = os.environ.get('SSL_CERT_FILE')
        self.addCleanup(self.restore, before)
        os.environ['SSL_CERT_FILE'] = str(self.ca.path)
        self.assertEqual((await self.call(self.serve(), ca='')).status, 200)

    def restore(self, before: str | None) -> None:
        del os.environ['SSL_CERT_FILE']
        if before is not None:
            os.environ['SSL_CERT_FILE'] = before

    async def test_nobody_known(self) -> None:
        """Certificates of other authorities, also of one with the same name, and self-signed ones are rejected."""
        upstream = self.serve()
        for ca, words in (
            (Authority(self.files / 'other', 'another').path.read_text(),
             'is not signed by an authority that is trusted here'),
            (Authority(self.files / 'same').path.read_text(), 'is not signed by the authority that it names'),
            ('', 'is not signed by an authority that is trusted here'),
        ):  # fmt: skip
            self.assertEqual(await self.refused(upstream, ca=ca), f'the certificate of localhost {words}')

    async def test_one_server_trusted(self) -> None:
        """A connection may trust the peer's certificate itself, whoever signed it."""
        self.assertEqual((await self.call(self.serve(), ca=self.pair[0].read_text())).status, 200)

    async def test_out_of_date(self) -> None:
        """An expired certificate is reported as such."""
        why = await self.refused(self.serve(self.ca.sign('old', 'localhost', days=-1)))
        self.assertEqual(why, 'the certificate of localhost has expired')

    async def test_another_name(self) -> None:
        """A certificate for another name or address is rejected, and the error lists its names. The common name is
        ignored."""
        upstream = self.serve(self.ca.sign('localhost', 'crm.example', '10.0.0.1'))
        for host in ('localhost', '127.0.0.1'):
            why = await self.refused(upstream, host)
            self.assertEqual(why, f'the certificate of {host} is for another name: crm.example, 10.0.0.1')
        why = await self.refused(self.serve(self.ca.sign('localhost')))
        self.assertEqual(why, 'the certificate of localhost is for nobody: it has no subjectAltName')

    async def test_not_looked_at(self) -> None:
        """Verification is off only if configured."""
        upstream = self.serve(self.ca.sign('old', 'crm.example', days=-1))
        self.assertEqual((await self.call(upstream, ca='', verify=False)).status, 200)

    async def test_what_the_handshake_says(self) -> None:
        """The handshake contains the name, unless it is an address (RFC 6066 §3), and http/1.1."""
        seen: list[tuple[bytes | None, bytes]] = []

        def look(peer: Peer, request: Request) -> None:
            connection: SSL.Connection = peer.transport.getHandle()  # type: ignore[union-attr]
            seen.append((connection.get_servername(), connection.get_alpn_proto_negotiated()))
            says()(peer, request)

        upstream = self.listen(look, tls=server_tls(self.pair))
        for host in ('localhost', '127.0.0.1'):
            await self.call(upstream, host)
        self.assertEqual(seen, [(b'localhost', b'http/1.1'), (None, b'http/1.1')])

    async def test_old_tls(self) -> None:
        """TLS 1.2 is accepted, older versions are not."""
        self.assertEqual((await self.call(self.serve(only=TLSVersion.TLSv1_2))).status, 200)
        why = await self.refused(self.serve(only=TLSVersion.TLSv1_1))
        self.assertEqual(why, 'localhost speaks no TLS from 1.2 on')

    async def test_no_tls_at_all(self) -> None:
        """Plain HTTP at the port is reported as a possible cause."""
        upstream = self.listen(says(), greets=lambda peer: peer.say(b'HTTP/1.1 400 Bad Request\r\n\r\n'))
        why = await self.refused(upstream)
        self.assertEqual(why, 'localhost does not speak TLS: it may be plain HTTP')

    async def test_closed_in_the_handshake(self) -> None:
        """A peer that closes the connection in the handshake is not reported as untrusted."""
        upstream = self.listen(says(), greets=Peer.close)
        self.assertEqual(await self.refused(upstream), 'localhost ended the TLS handshake (without a word)')

    async def test_a_silent_handshake(self) -> None:
        """A silent handshake ends with the connect timeout, which names it."""
        upstream = self.listen(says(), greets=lambda peer: None)
        client = self.client(tls=TlsSettings())
        began = reactor.seconds()
        for within in (0.3, 3.0, 12.0):  # a busy machine may not come to the handshake at first
            outbound = get(upstream.port, scheme='https', timeouts=Timeouts(connect_timeout=within))
            why = await self.failed(client.send(outbound), ConnectTimeout)
            if 'handshake' in why:
                break
        self.assertEqual(why, f'127.0.0.1:{upstream.port} did not finish the TLS handshake within {within:g} s')
        self.assertLess(reactor.seconds() - began, 60)
        await self.until(lambda: not upstream.peers)

    async def test_given_up_in_the_handshake(self) -> None:
        """Cancelling during the handshake leaves no connection."""
        upstream = self.listen(says(), greets=lambda peer: None)
        client = self.client()
        sending = client.send(get(upstream.port, scheme='https'))
        sending.addErrback(lambda failure: None)
        await self.until(lambda: upstream.peers)
        sending.cancel()
        self.assertEqual((client.client.active, client.client.idle), (0, 0))
        await self.until(lambda: not upstream.peers)

    async def test_a_truncated_answer(self) -> None:
        """A response without a length ends with TLS close_notify (RFC 8446 §6.1): a lost connection does not end it."""
        whole = self.listen(ends(b'HTTP/1.1 200 OK\r\n\r\nall of it'), tls=server_tls(self.pair))
        self.assertEqual((await self.call(whole)).body, b'all of it')

        def cut(peer: Peer, request: Request) -> None:
            peer.say(b'HTTP/1.1 200 OK\r\n\r\nhalf')
            peer.transport.transport.loseConnection()  # type: ignore[union-attr]

        upstream = self.listen(cut, tls=server_tls(self.pair))
        settings = TlsSettings(ca=self.ca.path.read_text())
        await self.failed(self.client(tls=settings).send(get(upstream.port, scheme='https')), PeerReset)

    async def test_connections_are_kept(self) -> None:
        """Connections are reused, as without TLS: one handshake for many calls."""
        upstream = self.serve()
        client = self.client(tls=TlsSettings(ca=self.ca.path.read_text()))
        for _ in range(5):
            await client.send(get(upstream.port, scheme='https', host='localhost'))
        self.assertEqual((upstream.accepted, len(upstream.requests)), (1, 5))


class OwnTests(TlsCase):
    """Client certificates."""

    def setUp(self) -> None:
        super().setUp()
        self.clients = Authority(self.files / 'clients', 'clients')
        certificate, key = self.clients.sign('zatotx', 'zatotx')
        self.own = {'certificate': certificate.read_text(), 'key': key.read_text()}

    async def test_shown(self) -> None:
        """The peer sees our certificate with TLS 1.2 and 1.3; certificate and key may be in one text."""
        together = {'certificate': self.own['key'] + self.own['certificate']}
        for own in (self.own, together):
            for only in (None, TLSVersion.TLSv1_2):
                upstream = self.serve(clients=self.clients.path, only=only)
                self.assertEqual((await self.call(upstream, **own)).status, 200)

    async def test_wanted_and_missing(self) -> None:
        """With TLS 1.3 a missing certificate is reported after our part of the handshake (RFC 8446 §4.4.2.4), as the
        same error."""
        why = await self.refused(self.serve(clients=self.clients.path))
        self.assertEqual(why, 'localhost wants a client certificate')
        why = await self.refused(self.serve(clients=self.clients.path, only=TLSVersion.TLSv1_2))
        self.assertEqual(why, 'localhost ended the TLS handshake: it wants a client certificate, or other ciphers')

    async def test_of_an_authority_that_the_peer_does_not_know(self) -> None:
        """If the peer rejects our certificate, the error says so."""
        for only in (None, TLSVersion.TLSv1_2):
            why = await self.refused(self.serve(clients=self.ca.path, only=only), **self.own)
            self.assertIn('localhost does not accept our client certificate', why)


class CredentialsTests(SynchronousTestCase):
    """Certificates and keys in the settings."""

    def setUp(self) -> None:
        ca = Authority(Path(self.mktemp()).absolute())
        self.certificate, self.key = (path.read_text() for path in ca.sign('a', 'a.example'))
        self.other_key = ca.sign('b', 'b.example')[1].read_text()

    def problems(self, **settings: Any) -> list[str]:
        unfit: InvalidTlsSettings = self.assertRaises(InvalidTlsSettings, parse_tls_settings, TlsSettings(**settings))
        return unfit.problems

    def test_nothing(self) -> None:
        """Empty settings mean the system's authorities, and no client certificate."""
        found = parse_tls_settings(TlsSettings())
        self.assertEqual((found.authorities, found.chain, found.key), ((), (), None))

    def test_all_that_is_wrong_at_once(self) -> None:
        """All problems are reported, each with the name of its setting, and nothing of its value."""
        self.assertEqual(self.problems(ca='secret', certificate='secret', key='secret'), [
            'tls_ca: holds no certificate in PEM form',
            'tls_cert: holds no certificate in PEM form',
            'tls_key: holds no private key in PEM form',
        ])  # fmt: skip
        self.assertEqual(self.problems(key=self.key), ['tls_cert: is missing beside tls_key'])
        self.assertEqual(self.problems(certificate=self.certificate),
                         ['tls_key: holds no private key in PEM form'])

    def test_a_key_of_another_certificate(self) -> None:
        """A key that does not match the certificate is reported."""
        self.assertEqual(self.problems(certificate=self.certificate, key=self.other_key),
                         ['tls_key: is not the key of the first certificate in tls_cert'])

    def test_a_key_with_a_password(self) -> None:
        """A key with a password is rejected, with what to do."""
        key = load_pem_private_key(self.key.encode(), None)
        sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b'pw')).decode()
        self.assertEqual(self.problems(certificate=self.certificate, key=sealed),
                         ['tls_key: is encrypted with a password; give it without one, it is kept encrypted here'])

    def test_a_key_that_signs_nothing(self) -> None:
        """A key type that certificates cannot have is rejected."""
        key = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self.assertEqual(self.problems(certificate=self.certificate, key=key),
                         ['tls_key: is of a kind that certificates for TLS do not have'])

    def test_secrets_are_not_shown(self) -> None:
        """The repr of settings and parsed values contains no secrets."""
        settings = TlsSettings(certificate=self.certificate, key=self.key)
        self.assertNotIn('PRIVATE', repr(settings))
        self.assertNotIn('rivateKey', repr(parse_tls_settings(settings)))


class WordsTests(SynchronousTestCase):
    def test_of_a_chain(self) -> None:
        """An error of an intermediate certificate is not attributed to the peer's own."""
        self.assertEqual(describe_certificate_error(10, of_peer=True), 'has expired')
        self.assertEqual(describe_certificate_error(10, of_peer=False), 'rests on one that has expired')
        self.assertEqual(describe_certificate_error(20, of_peer=False), describe_certificate_error(20, of_peer=True))
        self.assertEqual(describe_certificate_error(79, of_peer=True), 'is not acceptable (error 79 of OpenSSL)')

    def test_of_a_handshake(self) -> None:
        """Known reasons have our text, others OpenSSL's."""
        self.assertEqual(describe_handshake_error(['wrong version number']), 'does not speak TLS: it may be plain HTTP')
        self.assertEqual(describe_handshake_error(['odd thing']), 'ended the TLS handshake (odd thing)')


