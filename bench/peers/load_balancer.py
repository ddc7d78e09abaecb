"""The data path of the load balancer in front of raw backends, without health checks, for the benchmarks.

    python -m bench.peers.load_balancer PORT MODE CERTIFICATES BACKEND_PORT [BACKEND_PORT ...]

MODE is http or tcp; CERTIFICATES is a directory for TLS, or '' for none. The servers are used in turn.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Collection
from itertools import cycle
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from zatotx.interfaces.load_balancer import (
    BalancingKey,
    ExchangeRecord,
    IBackend,
    IExchangeLog,
    ILocalResponder,
    IServerSlot,
    Outcome,
)
from zatotx.lb.config.model import Backend, Configuration, Frontend, ListenerTls, MainSettings
from zatotx.lb.data_path import make_frontend
from zatotx.lb.frontend import FrontendContext
from zatotx.tap.component_service import MonotonicEpollReactor


@implementer(IServerSlot)
class Slot:
    """The slot of a server without limits."""

    cookie = ''

    def __init__(self, port: int) -> None:
        self.name, self.host, self.port = f'server{port}', '127.0.0.1', port

    def release(self, outcome: Outcome) -> None:
        """Do nothing."""


@implementer(IBackend)
class RoundRobin:
    """Servers in turn."""

    name = 'main'
    key_headers: Collection[str] = ()
    key_cookies: Collection[str] = ()

    def __init__(self, ports: Collection[int]) -> None:
        self._next: Callable[[], Slot] = cycle([Slot(port) for port in ports]).__next__

    def acquire_now(self, key: BalancingKey, excluded: Collection[str] = ()) -> IServerSlot | None:
        """Return the next server."""
        return self._next()

    def acquire(self, key: BalancingKey, excluded: Collection[str] = ()) -> Deferred[IServerSlot]:
        """Return the next server."""
        return succeed(self._next())


@implementer(IExchangeLog, ILocalResponder)
class Silent:
    """Logs nothing, and has no pages."""

    def log(self, record: ExchangeRecord) -> None:
        """Do nothing."""

    def respond(self, method: str, path: bytes, query: bytes, headers: Any) -> None:
        """Do nothing."""


def main(port: int, mode: str, certificates: str, backends: Collection[int]) -> None:
    """Serve until the process is killed."""
    reactor: Any = MonotonicEpollReactor()  # type: ignore[no-untyped-call]
    backend = RoundRobin(backends)
    tls = ListenerTls(certificates=certificates) if certificates else None
    configuration = Configuration(
        main=MainSettings(cluster='bench'),
        frontends={'main': Frontend(listen=(f'127.0.0.1:{port}',), default_backend='main', mode=mode, tls=tls,  # type: ignore[arg-type]
                                    max_connections=100_000)},
        backends={'main': Backend(mode=mode)},  # type: ignore[arg-type]
    )  # fmt: skip
    silent = Silent()
    frontend = make_frontend(FrontendContext(
        name='main', reactor=reactor, directory='.', find_backend=lambda name: backend, exchange_log=silent,
        local_responder=silent,
    ))  # fmt: skip
    frontend.prepare(configuration).commit()
    gc.freeze()
    reactor.listenTCP(port, frontend.factory, backlog=4096, interface='127.0.0.1')
    reactor.run()


if __name__ == '__main__':
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], [int(port) for port in sys.argv[4:]])
