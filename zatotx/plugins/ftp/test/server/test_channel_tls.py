"""FTP channels with TLS: ftplib, curl and lftp."""

from __future__ import annotations

import ftplib
import os
import socket
import ssl
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from trial_tests.support.certificate import write_certificate
from zatotx.plugins.ftp.schema.channel_ftp import FtpTls
from zatotx.plugins.ftp.test.server.channel_environment import TIMEOUT, ChannelEnvironment, error_of


class TlsTests(ChannelEnvironment):
    """AUTH TLS, PBSZ, PROT, and implicit TLS."""

    def setUp(self) -> None:
        super().setUp()
        self.pem = Path(self.mktemp()).absolute()
        write_certificate(self.pem, 'ftp.example')
        self.context = ssl.create_default_context()
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE

    async def protect(self, **fields: Any) -> None:
        """Configure the channel with TLS."""
        await self.configure(None, tls=FtpTls(certificate=str(self.pem), **fields))

    def with_tls(self, use: Callable[[ftplib.FTP_TLS], Any]) -> Deferred[Any]:
        """Run `use` with a client whose control connection is encrypted and that is logged in."""

        def run() -> Any:
            with ftplib.FTP_TLS(timeout=TIMEOUT, context=self.context) as client:
                client.connect('127.0.0.1', self.port)
                client.login('partner', 'secret')
                return use(client)

        return deferToThread(run)

    async def test_upload(self) -> None:
        """An upload over encrypted connections is delivered; so is a listing sent."""
        await self.protect()

        def use(client: ftplib.FTP_TLS) -> list[str]:
            client.prot_p()
            client.storbinary('STOR a.part', BytesIO(b'x' * 1_000_000))
            names = client.nlst()
            client.rename('a.part', 'a')
            return names

        self.assertEqual(await self.with_tls(use), ['a.part'])
        self.assertEqual([(each['name'], each['size']) for each in self.payloads], [('a', 1_000_000)])

    async def test_required(self) -> None:
        """Where TLS is required, logins and transfers without it are refused; otherwise both may be done."""
        await self.protect()

        def plain() -> str:
            with self.connect() as client:
                return error_of(lambda: client.login('partner', 'secret'))

        self.assertTrue((await deferToThread(plain)).startswith('530'))
        refusals = await self.with_tls(
            lambda client: [error_of(partial(client.storbinary, 'STOR a', BytesIO())), error_of(client.prot_c)]
        )
        self.assertEqual([text[:3] for text in refusals], ['521', '534'])
        await self.protect(required=False)
        await self.upload('plain')
        await self.with_tls(lambda client: client.storbinary('STOR unprotected', BytesIO(b'x')))
        self.assertEqual([each['name'] for each in self.payloads], ['plain', 'unprotected'])

    async def test_cut(self) -> None:
        """Data that ends without TLS's own end is cut: nothing is delivered."""
        await self.protect()

        def cut(client: ftplib.FTP_TLS) -> str:
            client.prot_p()
            data = client.transfercmd('STOR a')
            data.sendall(b'half')
            socket.socket(fileno=os.dup(data.fileno())).shutdown(socket.SHUT_RDWR)
            return error_of(client.voidresp)

        self.assertTrue((await self.with_tls(cut)).startswith('426'))
        self.assertEqual(self.payloads, [])

    async def test_injection(self) -> None:
        """Commands that were sent in plain text behind AUTH TLS are not run after the handshake (CVE-2011-0411)."""
        await self.protect()

        def run() -> list[bytes]:
            with socket.create_connection(('127.0.0.1', self.port), TIMEOUT) as plain:
                file = plain.makefile('rb')
                file.readline()
                plain.sendall(b'AUTH TLS\r\nFEAT\r\nNO')
                replies = [file.readline()[:3]]
                with self.context.wrap_socket(plain) as encrypted:
                    encrypted.sendall(b'SYST\r\n')
                    replies.append(encrypted.recv(1000)[:3])
                return replies

        try:
            self.assertEqual(await deferToThread(run), [b'234', b'215'])
        except ssl.SSLError:  # the kernel had the rest after the handshake began: it is no TLS
            self.flushLoggedErrors()

    async def test_curl_and_lftp(self) -> None:
        """curl uploads with explicit and with implicit TLS, lftp with explicit TLS."""
        await self.protect()
        curl = ('curl', '-sS', '-k', '-u', 'partner:secret', '-T', '-')
        done = await self.run_command(*curl, '--ssl-reqd', f'ftp://127.0.0.1:{self.port}/curl', data=b'1')
        self.assertEqual((done.returncode, done.stderr), (0, b''))
        script = 'set ssl:verify-certificate no; set ftp:ssl-protect-data yes; set net:max-retries 1'
        source = Path(self.mktemp())
        source.write_bytes(b'22')
        done = await self.run_command('lftp', '-u', 'partner,secret', '-p', str(self.port), '-e',
                                      f'{script}; put {source} -o lftp; bye', '127.0.0.1')  # fmt: skip
        self.assertEqual((done.returncode, done.stderr), (0, b''))
        await self.protect(implicit=True)
        done = await self.run_command(*curl, f'ftps://127.0.0.1:{self.port}/implicit', data=b'333')
        self.assertEqual((done.returncode, done.stderr), (0, b''))
        self.assertEqual([(each['name'], each['size']) for each in self.payloads],
                         [('curl', 1), ('lftp', 2), ('implicit', 3)])  # fmt: skip

    async def test_certificate(self) -> None:
        """A certificate that was renewed is used by the next client; files that are none keep the channel from
        starting, with a sentence that names them."""
        await self.protect()

        def presented() -> Any:
            with ftplib.FTP_TLS(timeout=TIMEOUT, context=self.context) as client:
                client.connect('127.0.0.1', self.port)
                client.auth()
                encrypted: Any = client.sock
                return encrypted.getpeercert(binary_form=True)

        before = await deferToThread(presented)
        self.assertEqual(await deferToThread(presented), before)
        self.pem.unlink()
        write_certificate(self.pem, 'ftp.example')
        os.utime(self.pem, ns=(1, 1))
        self.assertNotEqual(await deferToThread(presented), before)
        self.pem.write_text('nonsense')
        await self.protect(required=False)
        await self.until(lambda: any('certificate' in each for each in self.channels.findings()))
