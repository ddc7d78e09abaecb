"""Tests of probes against servers on loopback sockets: HTTP, TCP, TLS, the PROXY protocol, and servers that fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from trial_tests.support.issuing import self_signed
from trial_tests.support.ports import free_port
from trial_tests.support.reactor import reactor
from zatotx.lb.backends.health_probe import ProbeTarget, run_health_probe
from zatotx.lb.backends.server_tls import make_server_tls
from zatotx.lb.config.model import HealthCheck, ServerTls
from zatotx.lb.server_connector import make_dialer

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}'


class ScriptedServer(Protocol):
    """Sends its response when a request is complete, and keeps what it received."""

    factory: Any

    def connectionMade(self) -> None:
        self.factory.received.append(b'')

    def dataReceived(self, data: bytes) -> None:
        self.factory.received[-1] += data
        if self.factory.response and self.factory.received[-1].endswith(b'\r\n\r\n'):
            self.transport.write(self.factory.response)  # type: ignore[union-attr]
            if self.factory.response == b'-':
                self.transport.loseConnection()  # type: ignore[union-attr]


class ProbeTests(TestCase):
    def listen(self, response: bytes, context: Any = None) -> tuple[Any, int]:
        """Return the factory of a server that sends this response ('' = none), and its port."""
        factory: Any = Factory.forProtocol(ScriptedServer)
        factory.noisy, factory.received, factory.response = False, [], response
        listen = reactor.listenTCP if context is None else lambda port, made, **more: reactor.listenSSL(
            port, made, context, **more)
        port: Any = listen(0, factory, interface='127.0.0.1')
        self.addCleanup(port.stopListening)
        return factory, port.getHost().port

    def probe(self, port: int, check: HealthCheck | None = None, **more: Any) -> Deferred[str]:
        target = ProbeTarget(host='127.0.0.1', port=port, check=check or HealthCheck(timeout=5), **more)
        return run_health_probe(reactor, make_dialer(reactor), target)

    async def test_http(self) -> None:
        """A good response makes a probe good; the request names path and host."""
        factory, port = self.listen(OK)
        self.assertEqual(await self.probe(port), '')
        self.assertEqual(factory.received[0].split(b'\r\n')[:2],
                         [b'GET /zato/ready HTTP/1.1', b'Host: 127.0.0.1:%d' % port])
        self.assertEqual(await self.probe(port, HealthCheck(path='/x?y', host='crm.example', timeout=5)), '')
        self.assertIn(b'GET /x?y HTTP/1.1\r\nHost: crm.example\r\n', factory.received[1])

    async def test_status(self) -> None:
        """Another status than the expected ones makes the probe fail, with a sentence; interim responses are
        skipped."""
        _, port = self.listen(b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n')
        self.assertEqual(await self.probe(port), '/zato/ready responds with 503 instead of 200')
        self.assertEqual(await self.probe(port, HealthCheck(status=(200, 503), timeout=5)), '')

    async def test_failures(self) -> None:
        """A server that refuses, is silent, closes, or does not speak HTTP is reported as such."""
        self.assertEqual(await self.probe(free_port()), 'it refuses connections')
        _, silent = self.listen(b'')
        self.assertEqual(await self.probe(silent, HealthCheck(timeout=0.1)), 'it does not respond within 0.1 s')
        _, closing = self.listen(b'-')
        self.assertIn('not HTTP', await self.probe(closing))
        _, garbage = self.listen(b'SSH-2.0-OpenSSH\r\n\r\n')
        self.assertIn('its response is not HTTP', await self.probe(garbage))

    async def test_tcp(self) -> None:
        """A TCP probe needs a connection only, and sends nothing but a PROXY protocol header where servers expect
        one."""
        factory, port = self.listen(b'')
        self.assertEqual(await self.probe(port, HealthCheck(type='tcp', timeout=5)), '')
        self.assertEqual(await self.probe(port, HealthCheck(timeout=0.1), proxy_protocol='v1'),
                         'it does not respond within 0.1 s')
        self.assertTrue(factory.received[-1].startswith(b'PROXY UNKNOWN\r\nGET '))

    async def test_tls(self) -> None:
        """Over TLS, the certificate of the server is verified against the configured authorities and its name."""
        directory = Path(self.mktemp())
        directory.mkdir()
        pem = self_signed('CN=server1', names=['DNS:server1'], uses=()).write(directory / 'server.pem')
        context = ssl.PrivateCertificate.loadPEM(pem.read_bytes()).options()
        _, port = self.listen(OK, context)
        for config, name, problem in (
            (ServerTls(ca='server.pem'), 'server1', ''),
            (ServerTls(ca='server.pem'), 'server2', 'the certificate of server2 is for another name: server1'),
            (ServerTls(verify=False), 'server2', ''),
        ):
            result = await self.probe(port, tls=make_server_tls(config, directory), tls_name=name)
            self.assertEqual(result, problem)
