"""Limits the number of open connections, in total and for each client address.

AcceptLimiter stops accepting at the configured limit; further clients wait in the kernel's accept queue, which is
bounded too. When the process runs out of file descriptors, Twisted's ports accept connections and close them at once:
clients lose connections that could have been served a moment later. Here accepting pauses earlier, while some
descriptors are left for logs, spooled bodies and databases, and the reactor does not poll the port meanwhile.

AddressLimit limits the connections per IPv4 address, or per IPv6 /64, the network of a single customer. A connection
over the limit is aborted before any of its bytes is read. It cannot wait in the accept queue, which all clients share.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Iterator
from errno import EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM
from typing import Any

from twisted.logger import Logger

from zatotx.plugins.http.metrics import HttpCounters
from zatotx.rules.security.login_throttle import client_network

_RESOURCES_EXHAUSTED = frozenset((EMFILE, ENFILE, ENOBUFS, ENOMEM))
_RESERVE = 64  # file descriptors that are kept free of client connections
_ACCEPT_RECOVERY_PERIOD = 5.0  # seconds of uninterrupted accepting before the recovery is logged
_ADDRESS_RECOVERY_PERIOD = 60.0  # seconds without a rejected connection after which the problem counts as solved


class _LimitedPort:
    """A proxy for a listening socket whose `accept` goes through the AcceptLimiter."""

    __slots__ = ('_limiter', '_socket')

    def __init__(self, socket: Any, limiter: AcceptLimiter) -> None:
        self._socket = socket
        self._limiter = limiter

    def accept(self) -> tuple[Any, Any]:
        """Accept the next client. Raises BlockingIOError if none is waiting or the limit is reached."""
        return self._limiter.accept(self._socket)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class AcceptLimiter:
    """Limits the connections that all HTTP ports of a node accept. `counters.open` is updated by the connections
    themselves.

    `seconds` is the reactor's clock. `descriptor_limit` returns how many descriptors the process may open.
    """

    _log = Logger()

    def __init__(
        self, connection_limit: int, counters: HttpCounters, seconds: Callable[[], float],
        descriptor_limit: Callable[[], int] = lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    ) -> None:  # fmt: skip
        self._max_connections = connection_limit
        self._counters = counters
        self._seconds = seconds
        self._limit = descriptor_limit
        self._ports: list[Any] = []
        self._ceiling = first_reserved_descriptor(descriptor_limit())
        self._pause_reason = ''  # '' = accepting
        self._logged_reason = ''  # the reason that was logged, until the recovery is logged
        self._changed_at = 0.0  # when accepting paused or resumed last

    def add_port(self, port: Any) -> None:
        """Take over a listening port of Twisted's. Ports without a socket are left as they are."""
        if hasattr(port, 'socket'):
            port.socket = _LimitedPort(port.socket, self)
            self._ports.append(port)

    def forget_ports(self) -> None:
        """Forget the ports, which are being closed."""
        self._ports.clear()

    def accept(self, socket: Any) -> tuple[Any, Any]:
        """Accept the next client of a listening socket, and pause accepting if it is the last one allowed. Raises
        BlockingIOError, and other OSErrors of the kernel."""
        if self._pause_reason:
            raise BlockingIOError(EAGAIN, self._pause_reason)
        try:
            client, address = socket.accept()
        except OSError as error:
            if error.errno not in _RESOURCES_EXHAUSTED:
                raise
            self._pause(f'the kernel has nothing left for another one ({error.strerror})')
            raise BlockingIOError(EAGAIN, self._pause_reason) from None
        if self._counters.open + 1 >= self._max_connections:
            self._pause(f'{self._max_connections} are open, as many as [http] max_connections allows')
        elif client.fileno() >= self._ceiling:  # the kernel assigns the lowest free number: all below it are taken
            self._pause(f'the process has as many files and connections open as `ulimit -n` allows ({self._limit()}), '
                        'but for a reserve')  # fmt: skip
        return client, address

    def resume_if_possible(self) -> None:
        """Resume accepting if resources are free again. Called periodically and whenever a connection has ended."""
        now = self._seconds()
        self._ceiling = first_reserved_descriptor(self._limit())  # an administrator may have changed it
        if not self._pause_reason:
            if self._logged_reason and now - self._changed_at >= _ACCEPT_RECOVERY_PERIOD:
                self._logged_reason = ''
                self._log.info('Connections are accepted again')
            return
        if self._counters.open < self._max_connections and self._has_descriptor():
            self._pause_reason, self._changed_at = '', now
            self._counters.paused = 0
            for port in self._ports:
                port.startReading()

    def findings(self) -> Iterator[str]:
        """Yield a sentence for each current problem, for `zatotx doctor`."""
        if self._logged_reason:
            yield (f'no more connections are accepted, now and then at least: {self._logged_reason}; raise that limit, '
                   'or find out who holds so many')  # fmt: skip

    def _pause(self, reason: str) -> None:
        self._pause_reason, self._changed_at = reason, self._seconds()
        self._counters.paused = 1
        self._counters.pauses += 1
        for port in self._ports:
            port.stopReading()
        if reason != self._logged_reason:  # logged once, however often accepting pauses and resumes
            self._logged_reason = reason
            self._log.warn('No more connections are accepted: {why}. Those that come wait until others end', why=reason)

    def _has_descriptor(self) -> bool:
        try:
            descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        os.close(descriptor)
        return descriptor < self._ceiling


def first_reserved_descriptor(limit: int) -> int:
    """Return the lowest file descriptor number that is reserved. `limit` is the number of descriptors that the process
    may open."""
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit - min(_RESERVE, limit // 4)


class AddressLimit:
    """Counts and limits the open connections of each client network. `seconds` is the reactor's clock."""

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
        return bool(self._rejected_network) and self._seconds() - self._rejected_at < _ADDRESS_RECOVERY_PERIOD
