"""Client certificates on a running server of two workers, by curl and openssl."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker
from trial_tests.support.certificate import write_certificate
from trial_tests.support.guarded import Answered, curl, define, guarded, who
from trial_tests.support.issuing import HOUR, Issued, Issuer, self_signed
from trial_tests.support.waiting import until

BANK = Issuer('Bank CA')
PARTNER = BANK.issue(names=['DNS:api.partner.example'])
EACH = 12  # connections, after which both workers have had some


class MtlsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker: Broker = guarded()
        self.place = Path(self.mktemp()).resolve()
        self.place.mkdir()

    def define(self, name: str, **fields: Any) -> None:
        define(self.broker, {'name': name, 'type': 'mtls', 'subject': 'CN=partner,O=Bank', 'ca': BANK.pem, **fields})
        self.addCleanup(self.delete, name)

    def delete(self, name: str) -> None:
        """The channel and the definition."""
        self.invoke('zato.http-soap.delete', name=f'who.{name}', connection='channel', transport='plain_http')
        self.invoke('zato.security.mtls.delete', name=name)

    def invoke(self, service: str, **request: Any) -> Any:
        """What a zato.* service answers in its element."""
        answer = self.broker.invoke(service, msgspec.json.encode(request))
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json().get(service.replace('.', '_').replace('-', '_') + '_response')

    def ask(self, name: str, own: Issued | None = None, *above: Issued, words: tuple[str, ...] = ()) -> Answered:
        """The answer to curl with that certificate, on a connection of its own."""
        mine = () if own is None else ('--cert', own.write(self.place / 'own.pem', *above))
        return curl(*words, *mine, who(self.broker, name, tls=True))

    def s_client(self, *words: str | Path, text: str = '') -> str:
        """What `openssl s_client` says of a connection on which it sends that text."""
        done = subprocess.run(
            ['openssl', 's_client', '-connect', f'127.0.0.1:{self.broker.port() + 1}', *map(str, words)],
            input=text, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    def is_asked(self) -> bool:
        """Whether a new connection may send a certificate."""
        return 'Acceptable client certificate CA names' in (said := self.s_client()) or 'Requested Signature' in said


class CurlTests(MtlsTestCase):
    def test_let_in(self) -> None:
        """By both workers, under TLS 1.3 and 1.2, and the service sees who it is."""
        self.define('partner', roles=['bank'])
        for words in (('--tlsv1.3',), ('--tls-max', '1.2')):
            for _ in range(EACH):
                self.assertEqual(self.ask('partner', PARTNER, words=words).status, 200)
        seen = self.ask('partner', PARTNER).json()
        self.assertEqual((seen['name'], seen['username'], seen['kind']), ('partner', 'CN=partner,O=Bank', 'mtls'))
        self.assertEqual((seen['roles'], seen['claims']['fingerprint']), (['bank'], PARTNER.fingerprint))

    def test_refused(self) -> None:
        """No certificate, wrong CA, the same subject from another CA or self-signed, expired, not yet valid, another
        subject, another SAN: 401 each, the same; without TLS too."""
        self.define('strict', san=['api.partner.example'])
        names = ['DNS:api.partner.example']
        wrong = [
            None, Issuer('Other CA').issue(names=names), Issuer('Bank CA').issue(names=names), self_signed(names=names),
            BANK.issue(names=names, begins=-2 * HOUR, ends=-60), BANK.issue(names=names, begins=HOUR, ends=2 * HOUR),
            BANK.issue('CN=other,O=Bank', names=names), BANK.issue(names=['DNS:other.example']), BANK.issue(),
        ]  # fmt: skip
        for own in wrong:
            answer = self.ask('strict', own)
            self.assertEqual((answer.status, answer.challenge), (401, 'zato-mtls'), own)
        self.assertEqual(self.ask('strict', PARTNER).status, 200)
        self.assertEqual(curl(who(self.broker, 'strict')).status, 401)
        for why in ('not signed by an authority', 'not signed by the authority that it names', 'signed by itself',
                    'has expired', 'is not valid yet', 'another subject', 'none of the alternative names'):  # fmt: skip
            self.broker.logged("mutual TLS definition 'strict' refused a certificate", why)

    def test_authorities_below(self) -> None:
        """What the client sends beside its own certificate is used to find the way up."""
        self.define('branch')
        below = Issuer('Branch CA', above=BANK)
        own = below.issue()
        self.assertEqual(self.ask('branch', own).status, 401)
        self.assertEqual(self.ask('branch', own, below.own).status, 200)

    def test_revoked_on_a_connection_that_is_there(self) -> None:
        """A list of revoked certificates is in force for a connection that was let in before, too; one that has expired
        lets nobody in, and the log says so."""
        self.define('revoking')
        connection = self.connected(PARTNER)
        self.assertEqual([self.asked(connection, 'revoking') for _ in range(3)], [200, 200, 200])
        self.edit('revoking', crl=BANK.revoked(PARTNER))
        until(lambda: self.asked(connection, 'revoking') == 401, 'the list in this worker')
        self.broker.logged("mutual TLS definition 'revoking' refused a certificate: it was revoked")
        self.edit('revoking', crl=BANK.revoked(begins=-HOUR, ends=-60))
        until(lambda: self.asked(connection, 'revoking') and 'rejects all certificates' in self.broker.log(),
              'the log entry')  # fmt: skip
        self.assertEqual(self.asked(connection, 'revoking'), 401)
        self.broker.logged("'revoking' rejects all certificates: its revocation list has expired")
        self.edit('revoking', crl=BANK.revoked())
        until(lambda: self.asked(connection, 'revoking') == 200, 'the new list in this worker')

    def connected(self, own: Issued) -> HTTPSConnection:
        """One connection with that certificate, which is kept."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(own.write(self.place / 'own.pem'))
        connection = HTTPSConnection('127.0.0.1', self.broker.port() + 1, context=context, timeout=120)
        connection.connect()
        connection.auto_open = 0
        self.addCleanup(connection.close)
        return connection

    def asked(self, connection: HTTPSConnection, name: str) -> int:
        connection.request('GET', f'/who/{name}')
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def edit(self, name: str, **fields: Any) -> None:
        found = self.invoke('zato.security.mtls.get-by-name', name=name)
        self.invoke('zato.security.mtls.edit', id=found['id'], **fields)

    def test_groups(self) -> None:
        """A channel may take a certificate or a key: whoever has either is let in."""
        define(
            self.broker, {'name': 'grouped', 'type': 'mtls', 'subject': 'CN=partner,O=Bank', 'ca': BANK.pem},
            {'name': 'grouped.key', 'type': 'apikey', 'header': 'X-API-Key', 'password': 'sesame'},
            groups=[{'name': 'grouped.both', 'members': ['grouped', 'grouped.key']}],
            channel_rest=[{'name': 'grouped.both', 'url_path': '/grouped', 'service': 'sec.who',
                           'groups': ['grouped.both'], 'data_format': 'json'}],
        )  # fmt: skip
        url = f'https://127.0.0.1:{self.broker.port() + 1}/grouped'
        own = PARTNER.write(self.place / 'own.pem')
        self.assertEqual(curl('--cert', own, url).json()['kind'], 'mtls')
        self.assertEqual(curl('-H', 'X-API-Key: sesame', url).json()['kind'], 'apikey')
        self.assertEqual(curl(url).status, 401)
        self.invoke('zato.http-soap.delete', name='grouped.both', connection='channel', transport='plain_http')
        self.invoke('zato.groups.delete', name='grouped.both')
        self.delete('grouped')


class HandshakeTests(MtlsTestCase):
    def test_asked_while_somebody_looks(self) -> None:
        """Clients are asked for a certificate from the moment there is an active definition, in both workers, and not
        any more when the last one is gone or switched off. Nobody has to have one."""
        self.until_asked(False)
        define(self.broker, {'name': 'asking', 'type': 'mtls', 'ca': BANK.pem, 'is_active': False})
        self.assertEqual({self.is_asked() for _ in range(EACH)}, {False})
        define(self.broker, {'name': 'asking', 'type': 'mtls', 'ca': BANK.pem, 'is_active': True})
        self.assertEqual({self.is_asked() for _ in range(EACH)}, {True})
        self.assertEqual(curl(f'https://127.0.0.1:{self.broker.port() + 1}/zato/ping').status, 200)
        self.delete('asking')
        self.until_asked(False)

    def until_asked(self, asked: bool) -> None:
        """Both workers have heard of it."""
        until(lambda: {self.is_asked() for _ in range(EACH)} == {asked}, f'certificates asked for: {asked}')

    def test_sessions_lose_no_certificate(self) -> None:
        """A client that comes back with a session is let in by its certificate all the same, under TLS 1.3 and 1.2: the
        session is not resumed, and the handshake shows the certificate again."""
        self.define('session')
        own, session = PARTNER.write(self.place / 'own.pem'), self.place / 'session'
        request = 'GET /who/session HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
        for version in ('-tls1_3', '-tls1_2'):
            first = self.s_client(version, '-cert', own, '-sess_out', session, '-ign_eof', text=request)
            self.assertIn('HTTP/1.1 200', first)
            words = ('-sess_in', session) if session.exists() else ()
            for _ in range(EACH):
                again = self.s_client(version, '-cert', own, *words, '-ign_eof', text=request)
                self.assertIn('HTTP/1.1 200', again)
                self.assertNotIn('Reused,', again)
            session.unlink(missing_ok=True)

    def test_a_certificate_without_its_key(self) -> None:
        """Whoever has seen a partner's certificate, and not its key, does not get through the handshake."""
        self.define('possession')
        forged = Issued(PARTNER.certificate, BANK.issue().key).write(self.place / 'forged.pem')
        said = self.s_client('-cert', forged, text='GET /who/possession HTTP/1.1\r\nHost: localhost\r\n\r\n')
        self.assertNotIn('HTTP/1.1 200', said)
        self.assertIn('key values mismatch', said)  # of openssl itself: there is no way to send it

    def test_after_a_new_server_certificate(self) -> None:
        """SIGHUP, which has the listener take up its own new certificate, leaves it asking for those of clients."""
        self.define('renewing')
        self.assertEqual(self.ask('renewing', PARTNER).status, 200)
        before = self.s_client('-showcerts')
        write_certificate(self.broker.directory() / 'config' / 'tls.pem', 'localhost')
        os.kill(int((self.broker.directory() / 'server.pid').read_text()), signal.SIGHUP)
        until(lambda: all(_certificate(self.s_client('-showcerts')) != _certificate(before) for _ in range(EACH)),
              'the new certificate in both workers')  # fmt: skip
        for _ in range(EACH):
            self.assertEqual(self.ask('renewing', PARTNER).status, 200)


def _certificate(said: str) -> str:
    return said.partition('-----BEGIN CERTIFICATE-----')[2].partition('-----END')[0]
