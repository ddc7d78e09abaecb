"""The exchange as the kinds see it: drives the pipeline's coroutine for a message, and ends it in time.

A coroutine that never has to wait costs neither a Deferred nor a timer. One that waits is driven from callback to
callback by hand, which costs a tenth of what Deferred.fromCoroutine and a timer of its own would.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.interfaces.pipeline import IDispatcher, IPendingRequest
from zatotx.model.message import Message, Reply
from zatotx.pipeline.deadline_sweeper import DeadlineSweeper
from zatotx.pipeline.pipeline import Pipeline


@implementer(IPendingRequest)
class _Over:
    """A run that had nothing to wait for."""

    __slots__ = ()

    def cancel(self) -> None:
        """Nothing is left to cancel."""


_OVER = _Over()


@implementer(IPendingRequest)
class PendingRequest:
    """An exchange that waits for something. Ends in exactly one of: an answer, the answer that its deadline passed,
    silence because it was cancelled."""

    __slots__ = ('_answered', '_coroutine', '_exchange', '_inbound', '_waiting')

    def __init__(
        self,
        exchange: Dispatcher,
        inbound: Message,
        coroutine: Coroutine[Any, Any, Any],
        answered: Callable[[Any], None],
    ) -> None:
        self._exchange = exchange
        self._inbound = inbound
        self._coroutine = coroutine
        self._answered: Callable[[Any], None] | None = answered
        self._waiting: Deferred[Any] | None = None

    @property
    def deadline(self) -> float:
        """Seconds on the reactor's clock."""
        return self._inbound.deadline

    def wait(self, waiting: object) -> None:
        """The coroutine has to wait for this."""
        while not isinstance(waiting, Deferred):
            wrong = TypeError(f'Services await Deferreds and coroutines, not {type(waiting).__name__}')
            try:
                waiting = self._coroutine.throw(wrong)
            except StopIteration as finished:
                self._answer(finished.value)
                return
            except BaseException as error:
                self._fail(error)
                return
        self._waiting = waiting
        waiting.addBoth(self._go_on)

    def cancel(self) -> None:
        """The client is gone."""
        if self._close() is not None and self._waiting is not None:
            self._waiting.cancel()

    def expire(self) -> None:
        """The deadline has passed: the caller has its answer now, whatever the service makes of its cancellation."""
        self._answer(self._exchange.expired(self._inbound))
        if self._waiting is not None:
            self._waiting.cancel()

    def _go_on(self, result: Any) -> None:
        self._waiting = None
        try:
            if isinstance(result, Failure):
                waiting: object = result.throwExceptionIntoGenerator(self._coroutine)
            else:
                waiting = self._coroutine.send(result)
        except StopIteration as finished:
            self._answer(finished.value)
        except BaseException as error:
            self._fail(error)
        else:
            self.wait(waiting)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt | GeneratorExit):
            raise error
        if self._answered is not None:
            self._answer(self._exchange.refusal(error, self._inbound))
        else:  # it was cancelled: CancelledError is what was asked for
            error.__traceback__ = None  # whose frames hold the message, and those above them the error

    def _answer(self, answer: Any) -> None:
        answered, self._answered = self._answered, None  # `_close`, written out
        self._exchange.deadlines.forget(self)
        if answered is not None:
            answered(answer)

    def _close(self) -> Callable[[Any], None] | None:
        answered, self._answered = self._answered, None
        self._exchange.deadlines.forget(self)
        return answered


@implementer(IDispatcher)
class Dispatcher:
    """Runs the pipeline on a reactor's clock."""

    def __init__(self, pipeline: Pipeline, clock: IReactorTime) -> None:
        self._pipeline = pipeline
        self.deadlines = DeadlineSweeper(clock)

    def deliver(self, inbound: Message, answered: Callable[[Reply], None]) -> IPendingRequest:
        return self._start(self._pipeline.serve(inbound), inbound, answered)

    def admit(self, inbound: Message, admitted: Callable[[Reply | None], None]) -> IPendingRequest:
        return self._start(self._pipeline.authorize(inbound), inbound, admitted)

    def refusal(self, error: BaseException, inbound: Message) -> Reply:
        """The answer to a message whose exchange ended in `error`."""
        return self._pipeline.refusal(error, inbound)

    def expired(self, inbound: Message) -> Reply:
        """The answer to a message whose deadline passed."""
        return self._pipeline.expired(inbound)

    def _start(
        self, coroutine: Coroutine[Any, Any, Any], inbound: Message, answered: Callable[[Any], None]
    ) -> IPendingRequest:
        try:
            waiting = coroutine.send(None)
        except StopIteration as finished:
            answer = finished.value
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | GeneratorExit):
                raise
            answer = self._pipeline.refusal(error, inbound)
        else:
            run = PendingRequest(self, inbound, coroutine, answered)
            self.deadlines.watch(run)
            run.wait(waiting)
            return run
        answered(answer)
        return _OVER


__all__ = ['CancelledError', 'Dispatcher', 'PendingRequest']
