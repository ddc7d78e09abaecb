"""Writes the requests of a client connection, including their bodies, and tracks how much has been sent.

The writers for sockets are those of `zatotx.connectors.http.client_writer`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from math import inf
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from zatotx.connectors.http.client_writer import ClientWriter, make_client_writer
from zatotx.plugins.http.client.errors import RequestBodyFailed
from zatotx.plugins.http.client.http_messages import BodySource
from zatotx.plugins.http.client.pending_call import (
    AWAITING_CONTINUE,
    AWAITING_RESPONSE,
    PendingCall,
    SharedCallResources,
)
from zatotx.plugins.http.transport.response_stream import ResponseStream, StreamWriter


class IteratorBody:
    """A BodySource that reads from an async iterator. It can be sent only once."""

    repeatable = False

    def __init__(self, pieces: AsyncIterator[bytes], length: int | None = None) -> None:
        self._pieces = pieces
        self.length = length

    def pieces(self) -> AsyncIterator[bytes]:
        return self._pieces


class BodyUpload:
    """Writes the pieces of a BodySource with backpressure from the peer. Calls `ended(None)` when everything is
    written, and `ended(failure)` if the source fails or if its length differs from the declared length."""

    __slots__ = ('_length', '_on_end', '_remaining', '_stream', '_writer')

    def __init__(
        self, source: BodySource, writer: StreamWriter, clock: IReactorTime, on_end: Callable[[Failure | None], None]
    ) -> None:
        self._length = source.length
        self._remaining = source.length or 0
        self._writer = writer
        self._on_end = on_end
        self._stream = ResponseStream(source.pieces(), writer, clock, inf)

    def start(self) -> None:
        """Start sending. May call `on_end` at once."""
        chunked = self._length is None
        self._stream.start(self._writer.write if chunked else self._write_counted, chunked=chunked, on_end=self._finish)

    def resume(self) -> None:
        """Continue: the peer has received everything written so far."""
        self._stream.resume()

    def cancel(self) -> None:
        """Stop sending: the source is closed, and `on_end` is not called."""
        self._on_end = _ignore
        self._stream.cancel()

    def _write_counted(self, data: bytes) -> None:
        self._remaining -= len(data)
        if self._remaining < 0:
            raise ValueError(f'The source of the body gives more than the {self._length} bytes that it said')
        self._writer.write(data)

    def _finish(self, failure: Failure | None) -> None:
        if failure is None and self._remaining:
            details = f'The source of the body ended {self._remaining} bytes before the {self._length} that it said'
            failure = Failure(ValueError(details))
        self._on_end(failure)


def _ignore(failure: Failure | None) -> None:
    """Ignore the end of a cancelled upload."""


class RequestWriter:
    """Writes HTTP requests to a connection one after another. The function `on_failure` is called if a body cannot be
    produced. `holds(data)` returns whether the first data of a call is still completely in the buffer, so that the peer
    cannot have received any of it."""

    __slots__ = ('_awaits_continue', '_call', '_environment', '_on_failure', '_upload', '_writer', 'has_unsent')

    def __init__(
        self, environment: SharedCallResources, transport: Any, on_failure: Callable[[RequestBodyFailed], None]
    ) -> None:
        self._environment = environment
        self._on_failure = on_failure
        self._writer: ClientWriter = make_client_writer(
            transport, self._drained, environment.seconds, environment.write_batch
        )
        self.has_unsent = self._writer.has_unsent
        self._call: PendingCall | None = None  # whose body is being produced or waits for 100 Continue
        self._upload: BodyUpload | None = None
        self._awaits_continue = False

    @property
    def awaits_continue(self) -> bool:
        """Whether the body waits for 100 Continue."""
        return self._awaits_continue

    @property
    def is_unfinished(self) -> bool:
        """Whether some of the request is not sent yet."""
        return self._call is not None or self._writer.is_backlogged

    def start(self, call: PendingCall, now: float) -> None:
        """Send a request."""
        request = call.request
        self._writer.write(call.data)
        if call.body is None:
            call.enter_stage(AWAITING_RESPONSE, now, request.timeouts.first_byte_timeout)
            return
        self._call = call
        if request.expect_timeout:
            self._awaits_continue = True
            call.enter_stage(AWAITING_CONTINUE, now, request.expect_timeout)
        else:
            self.send_body(now)

    def send_body(self, now: float) -> None:
        """Send the body, after 100 Continue or the timeout for it."""
        call = self._call
        assert call is not None
        self._awaits_continue = False
        call.enter_stage(AWAITING_RESPONSE, now, call.request.timeouts.first_byte_timeout)
        body = call.body
        if isinstance(body, bytes):
            self._call = None
            self._writer.write(body)
        elif body is not None:
            call.body_started = True
            try:
                upload = self._upload = BodyUpload(body, self._writer, self._environment.reactor, self._uploaded)
            except Exception:  # the source failed before its first piece
                self._uploaded(Failure())
            else:
                upload.start()

    def last_progress(self, now: float) -> float:
        """Return when the request last made progress, in seconds of the reactor's clock."""
        if self._upload is not None and not self._writer.is_backlogged:
            return now  # its body is being produced
        return self._writer.last_progress

    def close(self) -> None:
        """Close the connection in an orderly way."""
        self._writer.close()

    def stop_body(self) -> None:
        """Stop sending the body. The request stays unfinished."""
        if self._upload is not None:
            self._upload.cancel()

    def discard(self) -> None:
        """Send nothing more, and drop buffered data."""
        self.stop_body()
        self._writer.discard()

    def is_stale(self) -> bool:
        """Return whether an idle connection is unusable, before the reactor reports it."""
        return self._writer.is_stale()

    def _drained(self) -> None:
        if self._upload is not None:
            self._upload.resume()

    def _uploaded(self, failure: Failure | None) -> None:
        call, self._call = self._call, None
        self._upload = None
        assert call is not None
        if failure is not None:
            error = RequestBodyFailed(f'the body of the request could not be made: {failure.getErrorMessage()}')
            error.__cause__ = failure.value
            self._on_failure(error)
        elif call.stage is AWAITING_RESPONSE:
            call.enter_stage(AWAITING_RESPONSE, self._environment.seconds(), call.request.timeouts.first_byte_timeout)
