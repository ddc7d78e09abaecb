"""Pending: a service call in a test that may have to wait."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from zatotx.interfaces.pipeline import IPendingRequest
from zatotx.model.message import Reply
from zatotx.testing.call_result import collect_stream

T = TypeVar('T')


class Pending(Generic[T]):
    """A call in progress: advance the clock, check whether it still waits, get its result. It may be awaited too.

    `read` creates the result from the reply and the streamed body; `settled` raises the errors that fail the test.
    """

    def __init__(self, title: str, read: Callable[[Reply, bytes | None], T], settled: Callable[[], None]) -> None:
        self._title, self._read, self._settled = title, read, settled
        self._request: IPendingRequest | None = None
        self._result: Callable[[], T] | None = None
        self._waiters: list[Deferred[None]] = []

    @property
    def waiting(self) -> bool:
        """Whether there is no result yet."""
        return self._result is None

    def answer(self) -> T:
        """Return the result. Raises what the service raised, AssertionError if there is no result yet."""
        if self._result is None:
            self._settled()
            raise AssertionError(f'{self._title} still waits for something: move self.clock to when it comes')
        self._settled()
        return self._result()

    def cancel(self) -> None:
        """Simulate that the client disconnects: the service is cancelled, and there is no response."""
        if self._result is None:
            if self._request is not None:
                self._request.cancel()
            self._fail(CancelledError(f'{self._title} was cancelled'))

    def __await__(self) -> Generator[Any, None, T]:
        if self._result is None:
            waiter: Deferred[None] = Deferred()
            self._waiters.append(waiter)
            yield from waiter
        return self.answer()

    def set_request(self, request: IPendingRequest) -> None:
        """Set the request to cancel."""
        self._request = request

    def handle_reply(self, reply: Reply) -> None:
        """Handle the reply of the dispatcher, and read its stream if it has one."""
        if self._result is not None:
            return
        if reply.stream is None:
            self._end(lambda: self._read(reply, None))
            return
        reading: Deferred[bytes] = Deferred.fromCoroutine(collect_stream(reply.stream))
        reading.addCallbacks(lambda streamed: self._end(lambda: self._read(reply, streamed)), self._on_stream_error)

    def _on_stream_error(self, failure: Failure) -> None:
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
