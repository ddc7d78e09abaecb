"""Thread pools that cannot keep a process from ending."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

PATIENCE = 2.0  # seconds for the threads of a pool to end what they do

_log = Logger()


def daemon_pool(name: str, size: int) -> ThreadPool:
    """A pool of at most `size` threads, made when they are needed. A service that never returns holds its thread, not
    the process."""
    pool = ThreadPool(0, size, name)
    pool.threadFactory = _daemon  # type: ignore[assignment]
    return pool


def _daemon(*args: Any, **kwargs: Any) -> Thread:
    return Thread(*args, **{**kwargs, 'daemon': True})


async def stop_pools(reactor: Any, pools: Sequence[Any]) -> None:
    """Stop the pools; one whose threads do not end in time is left to the end of the process."""
    stopped: Deferred[None] = Deferred()

    def stop() -> None:
        for pool in pools:
            if pool.started:
                pool.stop()
        reactor.callFromThread(settle, None)

    def settle(_: object) -> None:
        if not stopped.called:
            stopped.callback(None)

    def give_up() -> None:
        _log.warn('Service threads are still busy: they are left behind')
        settle(None)

    Thread(target=stop, daemon=True, name='stop-pools').start()
    late = reactor.callLater(PATIENCE, give_up)
    await stopped
    if late.active():
        late.cancel()
