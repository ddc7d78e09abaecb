"""The results of calls in users' tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Mapping
from typing import Any, Generic, TypeVar

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from zatotx.interfaces.pipeline import IPendingRequest
from zatotx.model.message import Reply, ServiceResult
from zatotx.wire.xml.parser import parse_document


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a service call in a test, before a channel serializes it."""

    payload: Any = None  # without its response element; a stream is collected as bytes
    status: int = 200
    content_type: str = ''  # '' = the channel's
    headers: Mapping[str, str] = {}
    element: str = ''  # the response_elem around the payload (classic SimpleIO), or ''
    cid: str = ''


class ChannelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The response that a client of a channel receives in a test."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str]
    cid: str
    error: BaseException | None = None  # the exception that the service raised, if the response reports it

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode('utf-8')

    def json(self) -> Any:
        """Return the body, parsed as JSON."""
        return msgspec.json.decode(self.body)

    def xml(self) -> Any:
        """Return the body, parsed as XML by lxml.objectify."""
        return parse_document(self.body)

    @property
    def details(self) -> str:
        """The details of an error response, of JSON or XML channels."""
        if self.content_type == 'application/xml':
            return self.xml().findtext('details') or ''
        details: str = self.json()['zato_env']['details']
        return details


async def collect_stream(stream: AsyncIterator[bytes]) -> bytes:
    """Collect the chunks of a streamed response."""
    return b''.join([chunk async for chunk in stream])


def make_answer(outcome: ServiceResult, streamed: bytes | None, cid: str) -> Answer:
    """Create the Answer for the result of a service call."""
    return Answer(
        payload=outcome.value if streamed is None else streamed,
        status=outcome.status,
        content_type=outcome.content_type,
        headers=dict(outcome.headers),
        element=outcome.element,
        cid=cid,
    )


def make_channel_answer(reply: Reply, streamed: bytes | None, cid: str) -> ChannelAnswer:
    """Create the ChannelAnswer for the reply of a channel."""
    return ChannelAnswer(
        status=reply.status,
        body=reply.body if streamed is None else streamed,
        content_type=reply.content_type.decode('latin-1'),
        headers={name.decode('ascii'): value.decode('utf-8') for name, value in reply.headers},
        cid=cid,
        error=reply.error,
    )


T = TypeVar('T')


class Pending(Generic[T]):
    """A call in progress in a test. The test advances the clock, checks whether the call is still waiting, and gets or
    awaits the result.

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
