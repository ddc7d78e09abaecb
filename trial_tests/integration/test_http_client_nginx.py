"""Outgoing HTTP against a real web server: nginx, in the clear and over TLS."""

from __future__ import annotations

import gzip
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread

from trial_tests.support.authority import Authority
from trial_tests.support.nginx import Nginx
from zatotx.connectors.tls_settings import TlsSettings
from zatotx.plugins.http.client.connection_pool import PoolLimits
from zatotx.plugins.http.client.errors import TlsFailed
from zatotx.plugins.http.client.http_messages import HttpRequest
from zatotx.plugins.http.client.request_writer import IteratorBody
from zatotx.plugins.http.client.response_processing import ACCEPT_ENCODING
from zatotx.plugins.http.test.upstream_servers import WithPeers, get, post, reactor

TEXT = b'{"name": "value"}\n' * 1000
LARGE = random.Random(1).randbytes(10_000_000)
PAGES = {'/text.json': TEXT, '/large': LARGE, '/small': b'hello'}
LOCATIONS = """
        location /moved { return 302 /small; }
        location /who { return 200 $ssl_client_s_dn; }
        location /name { return 200 $ssl_server_name; }
        location /agreed { return 200 $ssl_alpn_protocol; }
        location /silently { client_max_body_size 20m; return 204; }
        location /short { keepalive_timeout 1; return 200 short; }
"""


class NginxTests(WithPeers):
    def setUp(self) -> Any:
        files = Path(self.mktemp()).absolute()
        self.ca = Authority(files)
        self.clients = Authority(files / 'clients', 'clients')
        self.nginx = Nginx(
            PAGES, certificate=self.ca.sign('server', 'localhost'), clients=self.clients.path, locations=LOCATIONS
        )
        self.addCleanup(self.nginx.close)
        return deferToThread(self.nginx.start)

    async def test_kept_connections(self) -> None:
        """A thousand calls, 20 at once, over 20 connections."""
        client = self.client(pool_limits=PoolLimits(max_connections=20))
        for _ in range(10):
            answers = await gatherResults([client.send(get(self.nginx.port, b'/small')) for _ in range(100)])
            self.assertEqual({bytes(answer.body) for answer in answers}, {b'hello'})  # type: ignore[arg-type]
        await client.close()
        await self.until(lambda: self.nginx.connections() == 20)

    async def test_gzip(self) -> None:
        """Asked for and taken off, in chunks as nginx makes them on the way; without asking it comes as it is."""
        client = self.client()
        answer = await client.send(get(self.nginx.port, b'/text.json', headers=[ACCEPT_ENCODING]))
        self.assertEqual((answer.body, b'content-encoding' in answer.headers), (TEXT, False))
        raw = await self.client(decode_content=False).send(
            get(self.nginx.port, b'/text.json', headers=[ACCEPT_ENCODING])
        )
        self.assertEqual((raw.headers[b'content-encoding'], raw.head.chunked), (b'gzip', True))
        assert isinstance(raw.body, bytes)
        self.assertEqual(gzip.decompress(raw.body), TEXT)

    async def test_streams(self) -> None:
        """Both ways: an answer that is read piece by piece, a body that is made while it is sent."""
        client = self.client()
        answer = await client.send(get(self.nginx.port, b'/large', is_streamed=True))
        stream: Any = answer.body
        self.assertEqual(b''.join([piece async for piece in stream]), LARGE)

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(LARGE), 100_000):
                yield LARGE[at:at + 100_000]

        outbound = HttpRequest('PUT', get(self.nginx.port).origin, b'/silently', body=IteratorBody(pieces()))
        self.assertEqual((await client.send(outbound)).status, 204)
        self.assertEqual(client.client.active, 0)

    async def test_methods_and_statuses(self) -> None:
        """HEAD and what has no body, an error, a condition that holds, a part, a redirection."""
        client = self.client()
        origin = get(self.nginx.port).origin
        answer = await client.send(HttpRequest('HEAD', origin, b'/large'))
        self.assertEqual((answer.body, answer.headers[b'content-length']), (b'', b'%d' % len(LARGE)))
        tag = (b'If-None-Match', answer.headers[b'etag'])
        for target, headers, status, body in (
            (b'/large', [tag], 304, b''), (b'/nowhere', [], 404, None), (b'/silently', [], 204, b''),
            (b'/large', [(b'Range', b'bytes=2-5')], 206, LARGE[2:6]), (b'/moved', [], 200, b'hello'),
        ):  # fmt: skip
            answer = await client.send(get(self.nginx.port, target, headers=headers))
            self.assertEqual(answer.status, status)
            self.assertIn(body, (None, answer.body))
        self.assertEqual((client.client.active, client.client.idle), (0, 1))

    async def test_expect(self) -> None:
        """nginx agrees to a body before it is sent, or refuses it in time to spare us that."""
        client = self.client()
        for target, status in ((b'/silently', 204), (b'/small', 413)):
            answer = await client.send(post(self.nginx.port, LARGE, target, expect_timeout=5.0))
            self.assertEqual(answer.status, status)

    async def test_closed_by_nginx(self) -> None:
        """A connection that nginx closed after its time is not used any more: no call is lost."""
        client = self.client()
        for _ in range(2):
            self.assertEqual((await client.send(get(self.nginx.port, b'/short'))).body, b'short')
            await self.until(lambda: not client.client.idle)

    async def test_restarted(self) -> None:
        """nginx ends with connections of ours open: calls fail as they should, and go on once it is back."""
        client = self.client()
        await client.send(get(self.nginx.port, b'/small'))
        self.nginx.kill()
        await deferToThread(self.nginx.start)
        self.assertEqual((await client.send(get(self.nginx.port, b'/small'))).body, b'hello')

    async def test_frozen(self) -> None:
        """A process that stands still is a peer that is silent, and back when it goes on."""
        client = self.client()
        await client.send(get(self.nginx.port, b'/small'))
        self.nginx.freeze()
        self.addCleanup(self.nginx.thaw)
        sending = client.send(get(self.nginx.port, b'/small', deadline=reactor.seconds() + 0.3))
        with self.assertRaises(Exception) as caught:
            await sending
        self.assertIn('was not over within 0.', str(caught.exception))
        self.nginx.thaw()
        self.assertEqual((await client.send(get(self.nginx.port, b'/small'))).body, b'hello')

    async def test_tls(self) -> None:
        """Verified, by its name, with HTTP/1.1 agreed on; gzip and large bodies as without."""
        client = self.client(tls=TlsSettings(ca=self.ca.path.read_text()))
        for target, body in ((b'/name', b'localhost'), (b'/agreed', b'http/1.1'), (b'/large', LARGE),
                             (b'/text.json', TEXT)):  # fmt: skip
            answer = await client.send(
                get(self.nginx.tls_port, target, scheme='https', host='localhost', headers=[ACCEPT_ENCODING])
            )
            self.assertEqual(answer.body, body)
        self.assertEqual((client.client.active, client.client.idle), (0, 1))
        sending = client.send(get(self.nginx.tls_port, scheme='https'))
        self.assertIn('is for another name: localhost', await self.failed(sending, TlsFailed))

    async def test_who_we_are(self) -> None:
        """nginx sees our certificate, or none."""
        certificate, key = (path.read_text() for path in self.clients.sign('zatotx.partner'))
        for own, seen in (({'certificate': certificate, 'key': key}, b'CN=zatotx.partner'), ({}, b'')):
            client = self.client(tls=TlsSettings(ca=self.ca.path.read_text(), **own))  # type: ignore[arg-type]
            answer = await client.send(get(self.nginx.tls_port, b'/who', scheme='https', host='localhost'))
            self.assertEqual((answer.status, answer.body), (200, seen))

    async def test_somebody_unknown(self) -> None:
        """A certificate that nginx cannot verify gets its own answer."""
        certificate, key = (path.read_text() for path in self.ca.sign('somebody'))
        tls = TlsSettings(ca=self.ca.path.read_text(), certificate=certificate, key=key)
        answer = await self.client(tls=tls).send(get(self.nginx.tls_port, scheme='https', host='localhost'))
        self.assertEqual(answer.status, 400)

    async def test_not_tls(self) -> None:
        """Each protocol on the other's port is told of as that."""
        client = self.client(tls=TlsSettings(ca=self.ca.path.read_text()))
        sending = client.send(get(self.nginx.port, scheme='https', host='localhost'))
        self.assertIn('does not speak TLS: it may be plain HTTP', await self.failed(sending, TlsFailed))
        self.assertEqual((await client.send(get(self.nginx.tls_port))).status, 400)


