"""A call that may have to wait."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from zatotx.interfaces.pipeline import IPendingRequest
from zatotx.model.message import Reply
from zatotx.testing.call_result import whole

T = TypeVar('T')


class Pending(Generic[T]):
    """A call under way: move the clock, look whether it still waits, take its answer. May be awaited too.

    `read` makes the answer of the reply and of what it streamed; `settled` raises what the test has to fail of.
    """

    def __init__(self, title: str, read: Callable[[Reply, bytes | None], T], settled: Callable[[], None]) -> None:
        self._title, self._read, self._settled = title, read, settled
        self._run: IPendingRequest | None = None
        self._result: Callable[[], T] | None = None
        self._waiters: list[Deferred[None]] = []

    @property
    def waiting(self) -> bool:
        """Whether there is no answer yet."""
        return self._result is None

    def answer(self) -> T:
        """The answer; raises what the service raised, AssertionError while there is none."""
        if self._result is None:
            self._settled()
            raise AssertionError(f'{self._title} still waits for something: move self.clock to when it comes')
        self._settled()
        return self._result()

    def cancel(self) -> None:
        """The client goes away: the service is cancelled, and there is no answer."""
        if self._result is None:
            if self._run is not None:
                self._run.cancel()
            self._fail(CancelledError(f'{self._title} was cancelled'))

    def __await__(self) -> Generator[Any, None, T]:
        if self._result is None:
            waiter: Deferred[None] = Deferred()
            self._waiters.append(waiter)
            yield from waiter
        return self.answer()

    def began(self, run: IPendingRequest) -> None:
        """What can be cancelled."""
        self._run = run

    def replied(self, reply: Reply) -> None:
        """The exchange has an answer; what it streams is still to be read."""
        if self._result is not None:
            return
        if reply.stream is None:
            self._end(lambda: self._read(reply, None))
            return
        reading: Deferred[bytes] = Deferred.fromCoroutine(whole(reply.stream))
        reading.addCallbacks(lambda streamed: self._end(lambda: self._read(reply, streamed)), self._broken)

    def _broken(self, failure: Failure) -> None:
        self._fail(failure.value)

    def _fail(self, error: BaseException | None) -> None:
        def fail() -> T:
            assert error is not None
            raise error

        self._end(fail)

    def _end(self, result: Callable[[], T]) -> None:
        if self._result is None:
            self._result = result
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                waiter.callback(None)
