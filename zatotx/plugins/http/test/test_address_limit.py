"""The number of connections per client address is limited, independently of other clients."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.http.test.server_doubles import Client, ScriptedExchange, Server, get


class AddressLimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = Server(ScriptedExchange(), max_connections_per_address=2, head_timeout=1000.0)
        self.counters = self.server.site.counters

    def come(self, host: str) -> Client:
        made = IPv6Address if ':' in host else IPv4Address
        return self.server.connect(made('TCP', host, 50_000))

    def served(self, *clients: Client) -> list[bool]:
        """Return which connections are served; the others are aborted without a response."""
        found = [not client.closed for client in clients]
        for client in clients:
            if client.closed:
                self.assertEqual((client.wire.aborted, client.received()), (True, b''))
            else:
                self.assertEqual(client.ask(get('/zato/ping')).status, 200)
        return found

    def test_one_address_has_so_many(self) -> None:
        """The third connection of an address is aborted; another address is served; a closed connection frees a
        slot."""
        first, second, third = (self.come('10.0.0.1') for _ in range(3))
        self.assertEqual(self.served(first, second, third, self.come('10.0.0.2')), [True, True, False, True])
        self.assertEqual((self.counters.open, self.counters.accepted, self.counters.connections_refused), (3, 4, 1))
        first.wire.loseConnection()
        self.assertEqual(self.served(self.come('10.0.0.1'), self.come('10.0.0.1')), [True, False])

    def test_an_ipv6_network_is_one_client(self) -> None:
        """Addresses of one /64 count together, those of another do not."""
        hosts = '2001:db8::1', '2001:db8::2', '2001:db8:0:0:ffff::3', '2001:db8:0:1::1'
        self.assertEqual(self.served(*map(self.come, hosts)), [True, True, False, True])

    def test_unix_sockets_have_no_address(self) -> None:
        """Connections to Unix sockets are not counted."""
        clients = [self.server.connect(UNIXAddress(None)) for _ in range(5)]
        self.assertEqual(self.served(*clients), [True] * 5)
        for client in clients:
            client.wire.loseConnection()
        self.assertEqual(self.counters.open, 0)

    def test_trusted_proxies_speak_for_many(self) -> None:
        """Connections of a trusted proxy are not counted."""
        self.server = Server(ScriptedExchange(), max_connections_per_address=2, trusted_proxies=['10.0.0.1'])
        self.assertEqual(self.served(*(self.come('10.0.0.1') for _ in range(4))), [True] * 4)

    def test_nothing_is_kept_of_who_left(self) -> None:
        """No state is kept of closed connections."""
        for number in range(300):
            self.come(f'10.0.{number // 256}.{number % 256}').wire.loseConnection()
        self.assertEqual(self.server.site.address_limit._open, {})

    def test_said_once(self) -> None:
        """The log names the address once while the problem lasts; doctor reports it until a minute after the last
        rejection."""
        with capturedLogs() as events:
            for _ in range(5):
                self.come('10.0.0.1')
            self.server.wait(50)
            self.come('10.0.0.1')
        self.assertEqual(['10.0.0.1' in str(formatEvent(event)) for event in events], [True])
        for seconds, count in ((59, 1), (2, 0)):
            self.server.clock.advance(seconds)
            findings = list(self.server.site.address_limit.findings())
            self.assertEqual(len(findings), count)
            self.assertTrue(all('max_connections_per_address' in finding for finding in findings))
