"""Thread pools of daemon threads, which cannot keep the process from ending."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

STOP_TIMEOUT = 2.0  # seconds that the threads of a pool get to finish

_log = Logger()


def make_daemon_pool(name: str, size: int) -> ThreadPool:
    """Return a pool of at most `size` daemon threads, started on demand. A service that never returns blocks its
    thread, but not the end of the process."""
    pool = ThreadPool(0, size, name)
    pool.threadFactory = _make_daemon_thread  # type: ignore[assignment]
    return pool


def _make_daemon_thread(*args: Any, **kwargs: Any) -> Thread:
    return Thread(*args, **{**kwargs, 'daemon': True})


async def stop_pools(reactor: Any, pools: Sequence[Any]) -> None:
    """Stop the pools. Threads that do not finish within PATIENCE seconds are abandoned."""
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
        _log.warn('Service threads are still busy and are abandoned')
        settle(None)

    Thread(target=stop, daemon=True, name='stop-pools').start()
    timeout = reactor.callLater(STOP_TIMEOUT, give_up)
    await stopped
    if timeout.active():
        timeout.cancel()
