"""Limits the connections per client: per IPv4 address, or per IPv6 /64, the network of a single customer.

A connection over the limit is aborted before any of its bytes is read. It cannot wait in the kernel's accept queue as
those over `max_connections` do, because all clients share that queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.logger import Logger

from zatotx.plugins.http.server.counters import HttpCounters
from zatotx.rules.security.login_throttle import client_network

_RECOVERY_PERIOD = 60.0  # seconds without a rejected connection after which the problem counts as solved


class AddressLimit:
    """Counts the open connections of each network. `seconds` is the reactor's clock."""

    _log = Logger()

    def __init__(self, max_connections: int, counters: HttpCounters, seconds: Callable[[], float]) -> None:
        self._max_connections = max_connections
        self._counters = counters
        self._seconds = seconds
        self._open: dict[str, int] = {}
        self._rejected_network = ''  # the network whose connections are rejected; '' = none
        self._rejected_at = 0.0  # when a connection was rejected last

    def acquire(self, address: str) -> str | None:
        """Count a new connection. Returns the key to pass to `release` when it has ended, or None if its address is
        over the limit."""
        network = client_network(address)
        count = self._open.get(network, 0)
        if count >= self._max_connections:
            self._reject(network)
            return None
        self._open[network] = count + 1
        return network

    def release(self, network: str) -> None:
        """Uncount a connection that has ended."""
        count = self._open[network] - 1
        if count:
            self._open[network] = count
        else:
            del self._open[network]

    def findings(self) -> Iterator[str]:
        """Yield a sentence for each current problem, for `zatotx doctor`."""
        if self._is_rejecting():
            yield (f'connections of {self._rejected_network} are refused: {self._max_connections} are open, as many as '
                   '[http] max_connections_per_address allows one address; find out what holds so many there, or raise '
                   'that limit where many clients share the address')  # fmt: skip

    def _reject(self, network: str) -> None:
        if not self._is_rejecting():  # logged once, however many are rejected in a row
            self._log.warn(
                'Connections of {network} are refused: {most} are open, as many as [http] max_connections_per_address '
                'allows one address', network=network, most=self._max_connections,
            )  # fmt: skip
        self._counters.connections_refused += 1
        self._rejected_network, self._rejected_at = network, self._seconds()

    def _is_rejecting(self) -> bool:
        return bool(self._rejected_network) and self._seconds() - self._rejected_at < _RECOVERY_PERIOD
