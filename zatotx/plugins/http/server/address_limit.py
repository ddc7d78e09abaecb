"""How many connections one client may have: one IPv4 address, or one IPv6 /64, which a single customer owns whole.

A connection over the limit is cut before anything of it is read. It cannot wait in the kernel's accept queue, as those
over `max_connections` do: that queue is shared by all clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.logger import Logger

from zatotx.plugins.http.server.counters import HttpCounters
from zatotx.rules.security.login_throttle import network_of

_QUIET = 60.0  # seconds without a refused connection after which all is well again


class AddressLimit:
    """Counts the open connections of each network. `seconds` is the reactor's clock."""

    _log = Logger()

    def __init__(self, most: int, counters: HttpCounters, seconds: Callable[[], float]) -> None:
        self._most = most
        self._counters = counters
        self._seconds = seconds
        self._open: dict[str, int] = {}
        self._refused = ''  # the network whose connections are refused; '' = none is
        self._refused_at = 0.0  # when one was refused last

    def enter(self, address: str) -> str | None:
        """Count a new connection. What to give `leave` when it has ended, or None where its address has too many."""
        network = network_of(address)
        count = self._open.get(network, 0)
        if count >= self._most:
            self._refuse(network)
            return None
        self._open[network] = count + 1
        return network

    def leave(self, network: str) -> None:
        """A connection that was counted has ended."""
        count = self._open[network] - 1
        if count:
            self._open[network] = count
        else:
            del self._open[network]

    def findings(self) -> Iterator[str]:
        """What is wrong now, for `zatotx doctor`."""
        if self._is_refusing():
            yield (f'connections of {self._refused} are refused: {self._most} are open, as many as [http] '
                   'max_connections_per_address allows one address; find out what holds so many there, or raise that '
                   'limit where many clients share the address')  # fmt: skip

    def _refuse(self, network: str) -> None:
        if not self._is_refusing():  # logged once, however many are refused in a row
            self._log.warn(
                'Connections of {network} are refused: {most} are open, as many as [http] max_connections_per_address '
                'allows one address', network=network, most=self._most,
            )  # fmt: skip
        self._counters.connections_refused += 1
        self._refused, self._refused_at = network, self._seconds()

    def _is_refusing(self) -> bool:
        return bool(self._refused) and self._seconds() - self._refused_at < _QUIET
