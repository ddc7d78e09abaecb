"""The exchange as the kinds see it: starts the pipeline's coroutine for a message, and ends it in time.

A coroutine that never has to wait costs no Deferred and no timer: it is started by hand, and only what is still
waiting after its first step is handed to Twisted, with a timer for its deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.exchange.pipeline import Pipeline
from zatotx.interfaces.exchange import IExchange, IRun
from zatotx.model.message import Inbound, Reply


@implementer(IRun)
class _Over:
    """A run that had nothing to wait for."""

    __slots__ = ()

    def cancel(self) -> None:
        """Nothing is left to cancel."""


_OVER = _Over()


@implementer(IRun)
class Run:
    """An exchange that waits for something. Ends in exactly one of: an answer, an answer that its deadline passed,
    silence because it was cancelled."""

    __slots__ = ('_answered', '_rest', '_timer')

    def __init__(self, rest: Deferred[Any], answered: Callable[[Any], None]) -> None:
        self._rest = rest
        self._answered: Callable[[Any], None] | None = answered
        self._timer: IDelayedCall | None = None

    def watch(self, clock: IReactorTime, deadline: float, failed: Callable[[BaseException], Any],
              expired: Callable[[], Any]) -> None:
        """Answer when the rest is done, or at the deadline (seconds on the clock)."""
        self._timer = clock.callLater(max(0.0, deadline - clock.seconds()), self._expire, expired)
        self._rest.addCallbacks(self._answer, lambda failure: self._answer_failure(failure, failed))

    def cancel(self) -> None:
        if self._close() is not None:
            self._rest.cancel()

    def _expire(self, expired: Callable[[], Any]) -> None:
        self._timer = None
        self._answer(expired())
        self._rest.cancel()

    def _answer_failure(self, failure: Failure, failed: Callable[[BaseException], Any]) -> None:
        if self._answered is not None:  # else it was cancelled: CancelledError is what we asked for
            error = failure.value
            self._answer(failed(error if error is not None else RuntimeError('failure without a value')))

    def _answer(self, answer: Any) -> None:
        answered = self._close()
        if answered is not None:
            answered(answer)

    def _close(self) -> Callable[[Any], None] | None:
        answered, self._answered = self._answered, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return answered


@implementer(IExchange)
class Exchange:
    """Runs the pipeline on a reactor's clock."""

    def __init__(self, pipeline: Pipeline, clock: IReactorTime) -> None:
        self._pipeline = pipeline
        self._clock = clock

    def deliver(self, inbound: Inbound, answered: Callable[[Reply], None]) -> IRun:
        return self._start(self._pipeline.serve(inbound), inbound, answered)

    def admit(self, inbound: Inbound, admitted: Callable[[Reply | None], None]) -> IRun:
        return self._start(self._pipeline.authorize(inbound), inbound, admitted)

    def _start(self, coroutine: Coroutine[Any, Any, Any], inbound: Inbound, answered: Callable[[Any], None]) -> IRun:
        try:
            waiting = coroutine.send(None)
        except StopIteration as finished:
            answer = finished.value
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | GeneratorExit):
                raise
            answer = self._pipeline.refusal(error, inbound)
        else:
            return self._wait(coroutine, waiting, inbound, answered)
        answered(answer)
        return _OVER

    def _wait(self, coroutine: Coroutine[Any, Any, Any], waiting: Any, inbound: Inbound,
              answered: Callable[[Any], None]) -> Run:
        pipeline = self._pipeline
        run = Run(Deferred.fromCoroutine(_resumed(coroutine, waiting)), answered)
        run.watch(
            self._clock,
            inbound.deadline,
            lambda error: pipeline.refusal(error, inbound),
            lambda: pipeline.faults.expired(inbound, pipeline.codecs.of(inbound)),
        )
        return run


def _resumed(coroutine: Coroutine[Any, Any, Any], waiting: Any) -> Generator[Any, Any, Any]:
    """The rest of a coroutine whose first step gave `waiting`, in a form Deferred.fromCoroutine takes."""
    while True:
        try:
            result = yield waiting
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:
            step: Callable[[Any], Any] = coroutine.throw
            value: Any = error
        else:
            step, value = coroutine.send, result
        try:
            waiting = step(value)
        except StopIteration as finished:
            return finished.value


__all__ = ['CancelledError', 'Exchange', 'Run']
