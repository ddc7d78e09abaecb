"""Limits the time that an operation may wait without progress."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from attrs import define
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from zatotx.connectors.call_policies import CallTimedOut

T = TypeVar('T')
INTERVALS = 20  # looks at the progress within the timeout: it is noticed up to a twentieth late
_BYTES_ACKED_OFFSET = 120  # of tcpi_bytes_acked in struct tcp_info (linux/tcp.h)


class NoProgress(CallTimedOut):
    """The operation made no progress within the time limit."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.args = (f'no progress for {round(seconds, 3):g} s',)


def no_progress() -> int:
    """Return 0, the progress of an operation whose progress cannot be measured."""
    return 0


@define(eq=False)
class ProgressLimit:
    """Cancels waits that make no progress for `timeout` seconds."""

    clock: IReactorTime
    timeout: float

    async def wait(self, deferred: Deferred[T], measure: Callable[[], int] = no_progress) -> T:
        """The result. `measure` gives a number that changes with progress. Raises NoProgress."""
        if deferred.called:
            return await deferred
        clock, timeout = self.clock, self.timeout
        interval = timeout if measure is no_progress else timeout / INTERVALS
        before, since = measure(), clock.seconds()
        is_timed_out = False
        timer: IDelayedCall

        def check() -> None:
            nonlocal before, since, is_timed_out, timer
            now, after = clock.seconds(), measure()
            if after != before:
                before, since = after, now
            if now - since >= timeout:
                is_timed_out = True
                deferred.cancel()
            else:
                timer = clock.callLater(min(interval, timeout - (now - since)), check)

        timer = clock.callLater(interval, check)
        try:
            return await deferred
        except CancelledError:
            if is_timed_out:
                raise NoProgress(timeout) from None
            raise
        finally:
            if timer.active():
                timer.cancel()


def acknowledged_bytes(transport: Any) -> int:
    """Return how many bytes the peer's kernel has acknowledged, or 0 if the platform does not provide the number."""
    with suppress(OSError, AttributeError, struct.error, TypeError):
        handle = transport.getHandle()
        if not isinstance(handle, socket.socket):  # of TLS
            handle = transport.transport.getHandle()
        info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED_OFFSET + 8)
        acknowledged: int = struct.unpack_from('=Q', info, _BYTES_ACKED_OFFSET)[0]
        return acknowledged
    return 0
