"""Requests through proxies: the client for limits, logs and services, and its URL of the server."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.nginx import Nginx
from zatotx.connectors.tls_settings import INTERMEDIATE_CIPHERS
from zatotx.model.errors import StartError
from zatotx.model.message import HTTPView
from zatotx.plugins.http.channel import ServerConnectionFactory
from zatotx.plugins.http.server.client_info import listener_url
from zatotx.plugins.http.settings import read_settings
from zatotx.plugins.http.test.server_doubles import Answer, Client, ScriptedExchange, Server, get
from zatotx.plugins.http.test.socket_clients import PATIENCE, Served, exchange

PROXY = '192.168.1.1'  # the peer of connections in memory
CLIENT = 'X-Forwarded-For: 203.0.113.7'


class ProxiedTests(SynchronousTestCase):
    def serve(self, **settings: Any) -> Client:
        self.exchange = ScriptedExchange()
        self.server = Server(self.exchange, **settings)
        return self.server.connect()

    def seen(self, client: Client, *headers: str, path: str = '/echo') -> HTTPView:
        """Return what services, limits and throttles see of a request."""
        client.ask(get(path, *headers))
        view = self.exchange.delivered[-1].inbound.http
        assert view is not None
        return view

    def test_nobody_is_trusted(self) -> None:
        """Without trusted proxies forwarded fields are ignored."""
        client = self.serve()
        view = self.seen(client, CLIENT, 'X-Forwarded-Proto: https', 'Forwarded: for=203.0.113.7;host=evil')
        self.assertEqual((view.peer, view.secure, view.public_url), (PROXY, False, ''))
        self.assertEqual(view.listener_url, 'http://10.0.0.1:12345')
        self.assertTrue(self.server.lines[-1].startswith(f'{PROXY} '))

    def test_only_its_proxies(self) -> None:
        """Forwarded fields of untrusted peers are ignored."""
        view = self.seen(self.serve(trusted_proxies=['10.0.0.0/8', 'unix']), CLIENT, 'X-Forwarded-Proto: https')
        self.assertEqual((view.peer, view.secure, view.public_url), (PROXY, False, ''))

    def test_a_trusted_proxy(self) -> None:
        """Each request of a trusted proxy has its own client, for services, limits and the log, also if rejected."""
        client = self.serve(trusted_proxies=[PROXY])
        for address in ('203.0.113.7', '203.0.113.8', '203.0.113.8'):
            self.assertEqual(self.seen(client, f'X-Forwarded-For: {address}').peer, address)
            self.assertTrue(self.server.lines[-1].startswith(f'{address} '))
        self.assertEqual(client.ask(get('/nowhere', CLIENT)).status, 404)
        self.assertTrue(self.server.lines[-1].startswith('203.0.113.7 '))
        self.assertEqual(self.seen(client).peer, PROXY)

    def test_where_clients_reach_us(self) -> None:
        """The URL has the proxy's scheme and host; Host if it names the scheme only."""
        client = self.serve(trusted_proxies=[PROXY])
        for headers, secure, url in (
            (('X-Forwarded-Proto: https', 'X-Forwarded-Host: api.example.com'), True, 'https://api.example.com'),
            (('Forwarded: for=203.0.113.7;proto=https;host="api.example.com:8443"',), True,
             'https://api.example.com:8443'),
            ((CLIENT, 'X-Forwarded-Proto: https'), True, 'https://test'), ((CLIENT,), False, ''),
            ((CLIENT, 'X-Forwarded-Host: api.example.com'), False, 'http://api.example.com'), ((), False, ''),
        ):  # fmt: skip
            view = self.seen(client, *headers)
            self.assertEqual((view.secure, view.public_url), (secure, url), headers)

    def test_a_public_url(self) -> None:
        """A configured public URL is used, with and without proxies."""
        for settings in ({}, {'trusted_proxies': [PROXY]}):
            client = self.serve(public_url='https://api.example.com/esb', **settings)
            view = self.seen(client, CLIENT, 'X-Forwarded-Host: other.example.com')
            self.assertEqual(view.public_url, 'https://api.example.com/esb')

    def test_which_fields(self) -> None:
        """The setting selects the proxy's fields; others are ignored."""
        client = self.serve(trusted_proxies=[PROXY], proxy_headers='x-forwarded')
        self.assertEqual(self.seen(client, CLIENT, 'Forwarded: for=203.0.113.66').peer, '203.0.113.7')

    def test_malformed(self) -> None:
        """Invalid fields are counted each time and logged once; the client is then the proxy."""
        told: list[Any] = []
        observer: Any = told.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        client = self.serve(trusted_proxies=[PROXY])
        for number in (1, 2):
            self.assertEqual(self.seen(client, 'X-Forwarded-For: nonsense', path=f'/echo?{number}').peer, PROXY)
            self.assertEqual(self.server.site.counters.bad_forwarded, number)
        self.assertEqual([event['address'] for event in told if 'wrong' in event], [PROXY])

    def test_client_certificates(self) -> None:
        """Client-Cert counts only from a trusted proxy, and only if that is configured; then the proxy's own
        certificate is never the client's."""
        fields = ('Client-Cert: :b3du:', 'Client-Cert-Chain: :b25l:, :dHdv:')
        for settings, expected in (
            ({}, ()), ({'trusted_proxies': [PROXY]}, ()), ({'client_cert': True}, ()),
            ({'trusted_proxies': [PROXY], 'client_cert': True}, (b'own', b'one', b'two')),
        ):  # fmt: skip
            client = self.serve(**settings)
            self.assertEqual(self.seen(client, *fields).certificates, expected, settings)
        self.assertEqual(self.seen(client).certificates, ())
        self.assertEqual(self.seen(client, 'Client-Cert: nonsense').certificates, ())
        self.assertEqual(self.server.site.counters.bad_forwarded, 1)

    def test_unix(self) -> None:
        """Peers on Unix sockets are named `unix`."""
        for words, peer in (([], 'unix'), (['unix'], '203.0.113.7')):
            self.serve(trusted_proxies=words)
            client = self.server.connect(UNIXAddress(b''))
            self.assertEqual(self.seen(client, CLIENT).peer, peer)
            self.assertFalse(hasattr(client.wire, 'no_delay'))

    def test_proxy_protocol(self) -> None:
        """With trusted proxies only they may send PROXY headers; without, any peer of that endpoint."""
        for words, is_trusted in (([], True), (['10.0.0.9'], True), (['10.0.0.8'], False)):
            self.serve(trusted_proxies=words)
            factory = ServerConnectionFactory(self.server.site)
            self.assertEqual(factory.trusts_proxy(IPv4Address('TCP', '10.0.0.9', 1)), is_trusted, words)
        self.assertEqual(factory.tls_ciphers, INTERMEDIATE_CIPHERS)


class NginxTests(Served):
    """nginx as configured in docs/operations.md."""

    async def test_what_it_reports(self) -> None:
        """The client's address and URL are reported, whatever the client claims."""
        await self.serve(trusted_proxies=['127.0.0.1'], proxy_headers='x-forwarded')
        page = (Path(__file__).parents[5] / 'docs' / 'operations.md').read_text('utf-8')
        location = page.partition('    location / {')[2].partition('    }')[0]
        location = location.replace('http://zatotx', f'http://127.0.0.1:{self.port}')
        location = location.replace('$server_name', 'api.example.com')
        nginx = Nginx({}, locations=f'location /echo {{ {location} }}')
        self.addCleanup(nginx.close)
        await deferToThread(nginx.start)
        said = 'X-Forwarded-For: 203.0.113.66', 'X-Forwarded-Host: evil', 'Forwarded: for=203.0.113.66;host=evil'
        (answer,) = await deferToThread(_ask_from, '127.0.0.2', nginx.port, get('/echo', 'Connection: close', *said))
        view = self.exchange.delivered[-1].inbound.http
        assert view is not None
        self.assertEqual((answer.status, view.peer, view.secure, view.public_url),
                         (200, '127.0.0.2', False, 'http://api.example.com'))
        await self.until(lambda: self.lines)
        self.assertTrue(self.lines[-1].startswith('127.0.0.2 '))


def _ask_from(address: str, port: int, request: bytes) -> list[Answer]:
    with socket.create_connection(('127.0.0.1', port), PATIENCE, (address, 0)) as connection:
        return exchange(connection, request)


class OwnUrlTests(SynchronousTestCase):
    def test_urls(self) -> None:
        """URLs have the listener's address, with the port unless it is the scheme's default."""
        for host, port, secure, url in (
            ('10.0.0.1', 80, False, 'http://10.0.0.1'), ('10.0.0.1', 80, True, 'https://10.0.0.1:80'),
            ('10.0.0.1', 443, True, 'https://10.0.0.1'), ('10.0.0.1', 443, False, 'http://10.0.0.1:443'),
        ):  # fmt: skip
            self.assertEqual(listener_url(IPv4Address('TCP', host, port), secure=secure), url)
        self.assertEqual(listener_url(UNIXAddress(b'/run/x'), secure=False), 'http://localhost')


class SettingsTests(SynchronousTestCase):
    def test_mistakes(self) -> None:
        """Each error names the setting."""
        why = str(self.assertRaises(StartError, read_settings, {
            'trusted_proxies': ['nginx'], 'public_url': 'api.example.com', 'proxy_headers': 'x-real-ip',
        }))  # fmt: skip
        for part in ("[http] trusted_proxies: 'nginx' is no address", '[http] public_url: must be a URL',
                     '[http] proxy_headers: '):
            self.assertIn(part, why)

