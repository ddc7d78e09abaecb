"""Clients of outgoing HTTP, made of their settings."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import execute
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.http.client.credentials import TlsSettings, UnusableCredentials
from zatotx.plugins.http.client.factory import ClientEnvironment, ClientSettings, make_client
from zatotx.rules.http.proxy_selection import DIRECT, UnusableProxy


class MakingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.environ: dict[str, str] = {}
        self.reach = ClientEnvironment(MemoryReactorClock(), execute, environ=self.environ)

    def sender(self, **settings: Any) -> str:
        """What the calls of a client come to first."""
        send: Any = make_client(ClientSettings(**settings), self.reach).send
        return type(send.__self__).__name__

    def test_what_is_off_costs_nothing(self) -> None:
        """Calls come to the core itself where nothing else is wanted of them."""
        self.assertEqual(self.sender(), 'ResponseProcessor')
        self.assertEqual(self.sender(follow_redirects=0), 'ResponseProcessor')
        self.assertEqual(self.sender(inflate=False), 'ResponseProcessor')
        self.assertEqual(self.sender(follow_redirects=0, inflate=False), 'Client')
        self.environ['http_proxy'] = 'http://proxy'
        self.assertEqual(self.sender(follow_redirects=0, inflate=False), 'ForwardProxySender')
        self.assertEqual(self.sender(follow_redirects=0, inflate=False, proxy=DIRECT), 'Client')

    def test_what_is_wrong(self) -> None:
        """Certificates and proxies that will not do are found out when the client is made."""
        self.assertRaises(UnusableCredentials, self.sender, tls=TlsSettings(ca='nonsense'))
        self.assertRaises(UnusableProxy, self.sender, proxy='socks5://proxy')

    def test_tls_is_shared(self) -> None:
        """Connections of the same TLS settings have one between them, and others their own."""
        first = self.reach.tls(TlsSettings())
        self.assertIs(self.reach.tls(TlsSettings()), first)
        self.assertIsNot(self.reach.tls(TlsSettings(verify=False)), first)

    def test_closed(self) -> None:
        """A client without connections is closed at once."""
        self.successResultOf(make_client(ClientSettings(), self.reach).close())

    def test_secrets_are_not_shown(self) -> None:
        """Not in the repr of settings."""
        settings = ClientSettings(proxy='http://user:hunter2@proxy', tls=TlsSettings(key='hunter2', certificate='x'))
        self.assertNotIn('hunter2', repr(settings))
