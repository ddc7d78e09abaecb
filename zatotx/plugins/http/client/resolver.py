"""Resolves host names with the system's resolver (getaddrinfo: /etc/hosts, DNS and whatever else it is configured for).

getaddrinfo blocks without a time limit, so each lookup runs in a thread of its own, with a limit on their number: the
node's worker threads must not wait for name servers. Concurrent requests for a name share one lookup, so that a name
whose servers do not respond occupies one thread. Callers wait until their own deadline, not for the thread.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from zatotx.plugins.http.client.errors import NoSuchHost
from zatotx.rules.http.dns_cache import DnsCache, LookupResult, interleave_families
from zatotx.wire.http.host import is_address

Lookup = Callable[[str], Sequence[str]]
MAX_CONCURRENT_LOOKUPS = 16  # concurrent lookups; further ones are queued


def system_lookup(name: str) -> Sequence[str]:
    """Return the addresses of a name, best first (RFC 6724). Blocks. Raises OSError."""
    return [str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]


class AddressResolver:
    """The lookups of a process, with a cache of recent results."""

    def __init__(
        self, reactor: Any, lookup: Lookup = system_lookup, *, max_concurrent: int = MAX_CONCURRENT_LOOKUPS
    ) -> None:
        """`reactor`: IReactorTime and IReactorFromThreads. `lookup` is called in threads."""
        self._reactor = reactor
        self._lookup = lookup
        self._at_once = max_concurrent
        self._cache = DnsCache()
        self._waiting: dict[str, list[Deferred[tuple[str, ...]]]] = {}  # the callers that wait for a name
        self._queue: deque[str] = deque()  # names that wait for a thread
        self._running = 0

    @property
    def running(self) -> int:
        """Number of lookups that have a thread now."""
        return self._running

    def resolve(self, host: str) -> Deferred[tuple[str, ...]]:
        """Return the addresses of a host (as `ascii_host` returns it) in the order to try them; at once if they are
        cached. Fails with NoSuchHost. May be cancelled at any time."""
        if is_address(host):
            return succeed((host,))
        result = self._cache.get(host, self._reactor.seconds())
        return self._enqueue(host) if result is None else _as_deferred(host, result)

    def _enqueue(self, name: str) -> Deferred[tuple[str, ...]]:
        waiter: Deferred[tuple[str, ...]] = Deferred(lambda cancelled: self._leave(name, cancelled))
        if name in self._waiting:
            self._waiting[name].append(waiter)
        else:
            self._waiting[name] = [waiter]
            self._queue.append(name)
            self._start()
        return waiter

    def _leave(self, name: str, cancelled: Deferred[tuple[str, ...]]) -> None:
        """Remove a caller. A lookup that has a thread continues and fills the cache; a queued one without callers is
        dropped."""
        waiters = self._waiting[name]
        waiters.remove(cancelled)
        if not waiters and name in self._queue:
            self._queue.remove(name)
            del self._waiting[name]

    def _start(self) -> None:
        while self._queue and self._running < self._at_once:
            self._running += 1
            Thread(target=self._run_lookup, args=(self._queue.popleft(),), name='resolver', daemon=True).start()

    def _run_lookup(self, name: str) -> None:
        """Look up a name; runs in a thread."""
        try:
            result = LookupResult(interleave_families(self._lookup(name)))
        except (OSError, UnicodeError) as error:
            result = LookupResult((), getattr(error, 'strerror', None) or 'the name is not one that can be looked up')
        self._reactor.callFromThread(self._finish, name, result)

    def _finish(self, name: str, result: LookupResult) -> None:
        self._running -= 1
        self._cache.put(name, result, self._reactor.seconds())
        for waiter in self._waiting.pop(name):
            _as_deferred(name, result).chainDeferred(waiter)
        self._start()


def _as_deferred(name: str, result: LookupResult) -> Deferred[tuple[str, ...]]:
    if result.addresses:
        return succeed(result.addresses)
    return fail(NoSuchHost(f'no address was found for the name {name}: {result.error or "it has none"}'))
