"""Names to addresses, by the system's resolver (getaddrinfo: /etc/hosts, DNS and whatever else it is set up for).

It blocks for as long as it likes, so each lookup has a thread of its own, of which there are few at once: the node's
worker threads must not wait for name servers. A name is looked up once at a time however many ask, so that one whose
name servers are silent holds one thread. Who asks waits until their own deadline, and not for the thread.
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
AT_ONCE = 16  # lookups under way; more wait their turn


def system_lookup(name: str) -> Sequence[str]:
    """The addresses of a name, best first (RFC 6724). Blocks. Raises OSError."""
    return [str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]


class AddressResolver:
    """The lookups of a process and what they gave lately."""

    def __init__(self, reactor: Any, lookup: Lookup = system_lookup, *, at_once: int = AT_ONCE) -> None:
        """`reactor`: IReactorTime and IReactorFromThreads. `lookup` is called in threads."""
        self._reactor = reactor
        self._lookup = lookup
        self._at_once = at_once
        self._book = DnsCache()
        self._asking: dict[str, list[Deferred[tuple[str, ...]]]] = {}  # who waits for a name
        self._queue: deque[str] = deque()  # names that wait for a thread
        self._running = 0

    @property
    def running(self) -> int:
        """Lookups that have a thread now."""
        return self._running

    def addresses(self, host: str) -> Deferred[tuple[str, ...]]:
        """The addresses of a host (as `ascii_host` gives it) in the order they are to be tried; at once where they are
        known. Fails with NoSuchHost. May be cancelled at any time."""
        if is_address(host):
            return succeed((host,))
        found = self._book.get(host, self._reactor.seconds())
        return self._ask(host) if found is None else _told(host, found)

    def _ask(self, name: str) -> Deferred[tuple[str, ...]]:
        asker: Deferred[tuple[str, ...]] = Deferred(lambda gone: self._leave(name, gone))
        if name in self._asking:
            self._asking[name].append(asker)
        else:
            self._asking[name] = [asker]
            self._queue.append(name)
            self._start()
        return asker

    def _leave(self, name: str, gone: Deferred[tuple[str, ...]]) -> None:
        """Somebody waits no longer. A lookup that has a thread goes on for those who ask next; one that waits for a
        thread and for whom nobody waits is dropped."""
        waiting = self._asking[name]
        waiting.remove(gone)
        if not waiting and name in self._queue:
            self._queue.remove(name)
            del self._asking[name]

    def _start(self) -> None:
        while self._queue and self._running < self._at_once:
            self._running += 1
            Thread(target=self._work, args=(self._queue.popleft(),), name='resolver', daemon=True).start()

    def _work(self, name: str) -> None:
        """In a thread."""
        try:
            found = LookupResult(interleave_families(self._lookup(name)))
        except (OSError, UnicodeError) as error:
            found = LookupResult((), getattr(error, 'strerror', None) or 'the name is not one that can be looked up')
        self._reactor.callFromThread(self._finish, name, found)

    def _finish(self, name: str, found: LookupResult) -> None:
        self._running -= 1
        self._book.put(name, found, self._reactor.seconds())
        for asker in self._asking.pop(name):
            _told(name, found).chainDeferred(asker)
        self._start()


def _told(name: str, found: LookupResult) -> Deferred[tuple[str, ...]]:
    if found.addresses:
        return succeed(found.addresses)
    return fail(NoSuchHost(f'no address was found for the name {name}: {found.why or "it has none"}'))
