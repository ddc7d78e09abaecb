"""Building HTTP clients from their settings."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import execute
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.reactor import as_reactor
from zatotx.connectors.tls_settings import InvalidTlsSettings, TlsSettings
from zatotx.plugins.http.client.http_client import ClientEnvironment, ClientSettings, make_client
from zatotx.rules.http.proxy_selection import DIRECT, UnusableProxy


class MakingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.environ: dict[str, str] = {}
        self.reach = ClientEnvironment(as_reactor(MemoryReactorClock()), execute, environ=self.environ)

    def sender(self, **settings: Any) -> str:
        """Return the class that receives a client's calls first."""
        send: Any = make_client(ClientSettings(**settings), self.reach).send
        return type(send.__self__).__name__

    def test_what_is_off_costs_nothing(self) -> None:
        """Wrappers that are not configured are left out: calls go directly to the Client."""
        self.assertEqual(self.sender(), 'ResponseProcessor')
        self.assertEqual(self.sender(max_redirects=0), 'ResponseProcessor')
        self.assertEqual(self.sender(decode_content=False), 'ResponseProcessor')
        self.assertEqual(self.sender(max_redirects=0, decode_content=False), 'HttpClient')
        self.environ['http_proxy'] = 'http://proxy'
        self.assertEqual(self.sender(max_redirects=0, decode_content=False), 'ForwardProxySender')
        self.assertEqual(self.sender(max_redirects=0, decode_content=False, proxy=DIRECT), 'HttpClient')

    def test_what_is_wrong(self) -> None:
        """Invalid certificates and proxies are reported when the client is built."""
        self.assertRaises(InvalidTlsSettings, self.sender, tls=TlsSettings(ca='nonsense'))
        self.assertRaises(UnusableProxy, self.sender, proxy='socks5://proxy')

    def test_tls_is_shared(self) -> None:
        """Connections with the same TLS settings share a TLS context, others have their own."""
        first = self.reach.tls_factory(TlsSettings())
        self.assertIs(self.reach.tls_factory(TlsSettings()), first)
        self.assertIsNot(self.reach.tls_factory(TlsSettings(verify=False)), first)

    def test_closed(self) -> None:
        """A client without connections closes at once."""
        self.successResultOf(make_client(ClientSettings(), self.reach).close())

    def test_secrets_are_not_shown(self) -> None:
        """The repr of settings contains no secrets."""
        settings = ClientSettings(proxy='http://user:hunter2@proxy', tls=TlsSettings(key='hunter2', certificate='x'))
        self.assertNotIn('hunter2', repr(settings))
