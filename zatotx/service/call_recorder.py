"""Records selected calls of one service. Every n-th call is recorded as a sample, and calls that took longer than a
threshold are recorded as slow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from zatotx.interfaces.call_samples import ICallSampleStore
from zatotx.model.call_sample import MAX_TEXT, CallSample
from zatotx.model.message import Message, Reply

MAX_PENDING = 100  # records that are being written; further calls are not recorded
_NOT_TEXT = '(not text, or too large to be kept)'


@define(kw_only=True, eq=False)
class ServiceCallRecorder:
    """Records the calls of one service in one process. Recording never delays a call, because records are written after
    the call."""

    service: str
    slow_threshold: int  # milliseconds
    every: int  # a sample of each n-th call; 0 = none
    store: ICallSampleStore
    now: Callable[[], float]  # Unix time
    _calls: int = field(default=0, init=False)
    _pending: int = field(default=0, init=False)

    _log = Logger()

    def observe(self, message: Message, reply: Reply, seconds: float) -> None:
        """Record a call that came through a channel."""
        self._observe(message, seconds, lambda: (body_beginning(message.body), body_beginning(reply.body)))

    def observe_nested(self, message: Message, payload: Any, result: Any, seconds: float) -> None:
        """Record a call by another service."""
        self._observe(message, seconds, lambda: (payload_beginning(payload), payload_beginning(result)))

    def _observe(self, message: Message, seconds: float, texts: Callable[[], tuple[str, str]]) -> None:
        self._calls += 1
        milliseconds = seconds * 1000
        is_slow = milliseconds >= self.slow_threshold
        is_sample = self.every > 0 and (self._calls - 1) % self.every == 0
        if not (is_slow or is_sample) or self._pending >= MAX_PENDING:
            return
        request, response = texts()
        call = CallSample(cid=message.cid, channel=message.channel.name, started_at=self.now() - seconds,
                          milliseconds=round(milliseconds, 2), request=request, response=response)  # fmt: skip
        if is_sample:
            self._write(self.store.record_sample, call)
        if is_slow:
            self._write(self.store.record_slow, msgspec.structs.replace(call, threshold=self.slow_threshold))

    def _write(self, record: Callable[[str, CallSample], Deferred[None]], call: CallSample) -> None:
        self._pending += 1
        maybeDeferred(record, self.service, call).addBoth(self._finish)

    def _finish(self, result: Any) -> None:
        self._pending -= 1
        if result is not None:
            self._log.warn('A call of {service} cannot be recorded: {reason}', service=self.service,
                           reason=result.getErrorMessage())  # fmt: skip


def body_beginning(body: Any) -> str:
    """Return the beginning of a body as text."""
    if not isinstance(body, bytes):
        return _NOT_TEXT
    return body[: 4 * MAX_TEXT].decode('utf-8', 'replace')[:MAX_TEXT]


def payload_beginning(value: Any) -> str:
    """Return the beginning of a payload as text. A value that is not text is converted to JSON."""
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, bytes):
        return body_beginning(value)
    try:
        return body_beginning(msgspec.json.encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return _NOT_TEXT
