"""TLS of outgoing HTTP: whom it believes, who we are, and what it says where something is wrong."""

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
from zatotx.plugins.http.client.call import HttpResponse
from zatotx.plugins.http.client.credentials import TlsSettings, UnusableCredentials, credentials
from zatotx.plugins.http.client.errors import ConnectTimeout, PeerReset, TlsFailed
from zatotx.plugins.http.test.upstream import (
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
        """A peer over TLS, by default with a certificate that is good for localhost and 127.0.0.1."""
        return self.listen(says(body=b'hello'), tls=server_tls(pair or self.pair, **tls))

    async def call(self, upstream: Upstream, host: str = 'localhost', **tls: Any) -> HttpResponse:
        """One GET with a client that trusts our authority, unless `tls` says otherwise."""
        settings = TlsSettings(**{'ca': self.ca.path.read_text(), **tls})
        return await self.client(tls=settings).send(get(upstream.port, scheme='https', host=host))

    async def refused(self, upstream: Upstream, host: str = 'localhost', **tls: Any) -> str:
        """Why such a call fails. The peer hears nothing of a request."""
        settings = TlsSettings(**{'ca': self.ca.path.read_text(), **tls})
        client = self.client(tls=settings)
        why = await self.failed(client.send(get(upstream.port, scheme='https', host=host)), TlsFailed)
        self.assertEqual(upstream.requests, [])
        self.assertEqual((client.core.active, client.core.idle, client.core.waiting), (0, 0, 0))
        await self.until(lambda: not upstream.peers)
        return why


class PeerTests(TlsCase):
    async def test_the_authority_of_a_connection(self) -> None:
        """By name and by address, where the certificate is good for both."""
        upstream = self.serve()
        for host in ('localhost', '127.0.0.1'):
            self.assertEqual((await self.call(upstream, host)).body, b'hello')

    async def test_the_systems_authorities(self) -> None:
        """Where a connection names none, those of the system count: here that is our own, by the variable that OpenSSL
        reads."""
        before = os.environ.get('SSL_CERT_FILE')
        self.addCleanup(self.restore, before)
        os.environ['SSL_CERT_FILE'] = str(self.ca.path)
        self.assertEqual((await self.call(self.serve(), ca='')).status, 200)

    def restore(self, before: str | None) -> None:
        del os.environ['SSL_CERT_FILE']
        if before is not None:
            os.environ['SSL_CERT_FILE'] = before

    async def test_nobody_known(self) -> None:
        """Another authority's certificate, one of the same name too; one that signed itself."""
        upstream = self.serve()
        for ca, words in (
            (Authority(self.files / 'other', 'another').path.read_text(),
             'is not signed by an authority that is trusted here'),
            (Authority(self.files / 'same').path.read_text(), 'is not signed by the authority that it names'),
            ('', 'is not signed by an authority that is trusted here'),
        ):  # fmt: skip
            self.assertEqual(await self.refused(upstream, ca=ca), f'the certificate of localhost {words}')

    async def test_one_server_trusted(self) -> None:
        """A connection may trust the very certificate of its peer, whoever signed that."""
        self.assertEqual((await self.call(self.serve(), ca=self.pair[0].read_text())).status, 200)

    async def test_out_of_date(self) -> None:
        """It says that this is why."""
        why = await self.refused(self.serve(self.ca.sign('old', 'localhost', days=-1)))
        self.assertEqual(why, 'the certificate of localhost has expired')

    async def test_another_name(self) -> None:
        """A good certificate of somebody else's, name or address; it says whose. The common name counts for nothing."""
        upstream = self.serve(self.ca.sign('localhost', 'crm.example', '10.0.0.1'))
        for host in ('localhost', '127.0.0.1'):
            why = await self.refused(upstream, host)
            self.assertEqual(why, f'the certificate of {host} is for another name: crm.example, 10.0.0.1')
        why = await self.refused(self.serve(self.ca.sign('localhost')))
        self.assertEqual(why, 'the certificate of localhost is for nobody: it has no subjectAltName')

    async def test_not_looked_at(self) -> None:
        """Only where a connection says so."""
        upstream = self.serve(self.ca.sign('old', 'crm.example', days=-1))
        self.assertEqual((await self.call(upstream, ca='', verify=False)).status, 200)

    async def test_what_the_handshake_says(self) -> None:
        """The name where it is one (RFC 6066 §3), and http/1.1."""
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
        """1.2 is spoken, nothing older is."""
        self.assertEqual((await self.call(self.serve(only=TLSVersion.TLSv1_2))).status, 200)
        why = await self.refused(self.serve(only=TLSVersion.TLSv1_1))
        self.assertEqual(why, 'localhost speaks no TLS from 1.2 on')

    async def test_no_tls_at_all(self) -> None:
        """Plain HTTP at that port: it says what that may be."""
        upstream = self.listen(says(), greets=lambda peer: peer.say(b'HTTP/1.1 400 Bad Request\r\n\r\n'))
        why = await self.refused(upstream)
        self.assertEqual(why, 'localhost does not speak TLS: it may be plain HTTP')

    async def test_closed_in_the_handshake(self) -> None:
        """Whoever hangs up is not taken for somebody else."""
        upstream = self.listen(says(), greets=Peer.close)
        self.assertEqual(await self.refused(upstream), 'localhost ended the TLS handshake (without a word)')

    async def test_a_silent_handshake(self) -> None:
        """It ends with the time for connecting, and says what was missing."""
        upstream = self.listen(says(), greets=lambda peer: None)
        client = self.client(tls=TlsSettings())
        began = reactor.seconds()
        for within in (0.3, 3.0, 12.0):  # a busy machine may not come to the handshake at first
            outbound = get(upstream.port, scheme='https', timeouts=Timeouts(connect=within))
            why = await self.failed(client.send(outbound), ConnectTimeout)
            if 'handshake' in why:
                break
        self.assertEqual(why, f'127.0.0.1:{upstream.port} did not finish the TLS handshake within {within:g} s')
        self.assertLess(reactor.seconds() - began, 60)
        await self.until(lambda: not upstream.peers)

    async def test_given_up_in_the_handshake(self) -> None:
        """A caller who leaves leaves no connection."""
        upstream = self.listen(says(), greets=lambda peer: None)
        client = self.client()
        sending = client.send(get(upstream.port, scheme='https'))
        sending.addErrback(lambda failure: None)
        await self.until(lambda: upstream.peers)
        sending.cancel()
        self.assertEqual((client.core.active, client.core.idle), (0, 0))
        await self.until(lambda: not upstream.peers)

    async def test_a_truncated_answer(self) -> None:
        """An answer without a length ends by TLS's own farewell (RFC 8446 §6.1): a connection that is cut off is not
        taken for the end of it."""
        whole = self.listen(ends(b'HTTP/1.1 200 OK\r\n\r\nall of it'), tls=server_tls(self.pair))
        self.assertEqual((await self.call(whole)).body, b'all of it')

        def cut(peer: Peer, request: Request) -> None:
            peer.say(b'HTTP/1.1 200 OK\r\n\r\nhalf')
            peer.transport.transport.loseConnection()  # type: ignore[union-attr]

        upstream = self.listen(cut, tls=server_tls(self.pair))
        settings = TlsSettings(ca=self.ca.path.read_text())
        await self.failed(self.client(tls=settings).send(get(upstream.port, scheme='https')), PeerReset)

    async def test_connections_are_kept(self) -> None:
        """As without TLS: one handshake for many calls."""
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
        """The peer sees ours, with TLS 1.2 as with 1.3; certificate and key may stand in one text."""
        together = {'certificate': self.own['key'] + self.own['certificate']}
        for own in (self.own, together):
            for only in (None, TLSVersion.TLSv1_2):
                upstream = self.serve(clients=self.clients.path, only=only)
                self.assertEqual((await self.call(upstream, **own)).status, 200)

    async def test_wanted_and_missing(self) -> None:
        """TLS 1.3 tells us so late, after our part of the handshake (RFC 8446 §4.4.2.4): the error is the same kind."""
        why = await self.refused(self.serve(clients=self.clients.path))
        self.assertEqual(why, 'localhost wants a client certificate')
        why = await self.refused(self.serve(clients=self.clients.path, only=TLSVersion.TLSv1_2))
        self.assertEqual(why, 'localhost ended the TLS handshake: it wants a client certificate, or other ciphers')

    async def test_of_an_authority_that_the_peer_does_not_know(self) -> None:
        """It says that it is ours that was not accepted."""
        for only in (None, TLSVersion.TLSv1_2):
            why = await self.refused(self.serve(clients=self.ca.path, only=only), **self.own)
            self.assertIn('localhost does not accept our client certificate', why)


class CredentialsTests(SynchronousTestCase):
    """Certificates and keys as people give them."""

    def setUp(self) -> None:
        ca = Authority(Path(self.mktemp()).absolute())
        self.certificate, self.key = (path.read_text() for path in ca.sign('a', 'a.example'))
        self.other_key = ca.sign('b', 'b.example')[1].read_text()

    def problems(self, **settings: Any) -> list[str]:
        unfit: UnusableCredentials = self.assertRaises(UnusableCredentials, credentials, TlsSettings(**settings))
        return unfit.problems

    def test_nothing(self) -> None:
        """Means the system's authorities, and no certificate of our own."""
        found = credentials(TlsSettings())
        self.assertEqual((found.authorities, found.chain, found.key), ((), (), None))

    def test_all_that_is_wrong_at_once(self) -> None:
        """Each with the name of its setting, and nothing of what stands in it."""
        self.assertEqual(self.problems(ca='secret', certificate='secret', key='secret'), [
            'tls_ca: holds no certificate in PEM form',
            'tls_cert: holds no certificate in PEM form',
            'tls_key: holds no private key in PEM form',
        ])  # fmt: skip
        self.assertEqual(self.problems(key=self.key), ['tls_cert: is missing beside tls_key'])
        self.assertEqual(self.problems(certificate=self.certificate),
                         ['tls_key: holds no private key in PEM form'])

    def test_a_key_of_another_certificate(self) -> None:
        """It would only be found out in a handshake."""
        self.assertEqual(self.problems(certificate=self.certificate, key=self.other_key),
                         ['tls_key: is not the key of the first certificate in tls_cert'])

    def test_a_key_with_a_password(self) -> None:
        """Nobody could give it when it is needed: it is said what to do."""
        key = load_pem_private_key(self.key.encode(), None)
        sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b'pw')).decode()
        self.assertEqual(self.problems(certificate=self.certificate, key=sealed),
                         ['tls_key: is encrypted with a password; give it without one, it is kept encrypted here'])

    def test_a_key_that_signs_nothing(self) -> None:
        """No certificate can be of such a key."""
        key = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self.assertEqual(self.problems(certificate=self.certificate, key=key),
                         ['tls_key: is of a kind that certificates for TLS do not have'])

    def test_secrets_are_not_shown(self) -> None:
        """Not in a repr, of settings or of what was read from them."""
        settings = TlsSettings(certificate=self.certificate, key=self.key)
        self.assertNotIn('PRIVATE', repr(settings))
        self.assertNotIn('rivateKey', repr(credentials(settings)))


class WordsTests(SynchronousTestCase):
    def test_of_a_chain(self) -> None:
        """What is wrong with one that signed is not said of the one that was signed."""
        self.assertEqual(describe_certificate_error(10, of_peer=True), 'has expired')
        self.assertEqual(describe_certificate_error(10, of_peer=False), 'rests on one that has expired')
        self.assertEqual(describe_certificate_error(20, of_peer=False), describe_certificate_error(20, of_peer=True))
        self.assertEqual(describe_certificate_error(79, of_peer=True), 'is not acceptable (error 79 of OpenSSL)')

    def test_of_a_handshake(self) -> None:
        """Words of our own where the reason is known, OpenSSL's where it is not."""
        self.assertEqual(describe_handshake_error(['wrong version number']), 'does not speak TLS: it may be plain HTTP')
        self.assertEqual(describe_handshake_error(['odd thing']), 'ended the TLS handshake (odd thing)')


