"""Implements `self.patterns`, with the patterns parallel, fanout and invoke_retry of Zato.

Each can be called itself: `patterns.parallel(targets)` invokes the targets at once and returns their results. The forms
with `invoke` and callbacks go through the work stream: they return a cid, and survive the death of any process.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import SystemRandom
from typing import Any

import msgspec
from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, gatherResults
from twisted.internet.task import deferLater

from zatotx.model.cid import new_cid
from zatotx.model.errors import BadRequest, ServiceUnavailable
from zatotx.model.work_message import WorkMessage, encode_work, to_timestamp
from zatotx.service.async_invoke import (
    callbacks_of,
    make_work_message,
    run_from_any_thread,
    target_name,
    write_to_work_stream,
)
from zatotx.service.invocation import Invocation
from zatotx.service.invoke import ServiceInvocation, invoke_service

DEFAULT_CONCURRENCY = 10  # targets of one call that are invoked at once
DEFAULT_REPEATS, DEFAULT_SECONDS = 5, 1.0
_JITTER = 0.1  # share by which a pause may be shorter, so that callers that failed together do not return together
_random = SystemRandom()
Targets = Mapping[Any, Any]  # service -> payload


@frozen
class TargetResult:
    """The result of invoking one target. It has either a `response`, or an `exception` if the invocation failed."""

    target: str
    ok: bool
    response: Any = None
    exception: BaseException | None = None


@frozen
class Parallel:
    """Invokes several services in parallel."""

    _invocation: Invocation

    def __call__(
        self, targets: Targets, *, timeout: float | None = None, concurrency: int = DEFAULT_CONCURRENCY
    ) -> Any:
        """Invoke all targets in this process, at most `concurrency` at once, and return {name: TargetResult} when all
        have ended. To be awaited in `async def` services."""
        return run_from_any_thread(self._invocation, lambda: self._gather(targets, timeout, concurrency))

    def invoke(self, targets: Targets, callback: Any = None, cid: str | None = None) -> Any:
        """Invoke all targets through the work stream, and `callback` with a report of each result. Returns the cid."""
        return run_from_any_thread(self._invocation, lambda: _add_targets(self._invocation, targets, callback, cid, ''))

    async def _gather(self, targets: Targets, timeout: float | None, concurrency: int) -> dict[str, TargetResult]:
        semaphore = DeferredSemaphore(concurrency)
        named = {target_name(target): payload for target, payload in targets.items()}
        waiting = [semaphore.run(self._start, name, payload, timeout) for name, payload in named.items()]
        gathering: Deferred[list[TargetResult]] = gatherResults(waiting, consumeErrors=True)
        try:
            return {result.target: result for result in await gathering}
        finally:
            for one in waiting:
                one.cancel()

    def _start(self, name: str, payload: Any, timeout: float | None) -> Deferred[TargetResult]:
        return Deferred.fromCoroutine(self._one(name, payload, timeout))

    async def _one(self, name: str, payload: Any, timeout: float | None) -> TargetResult:
        try:
            call = ServiceInvocation(target=name, payload=payload, timeout=timeout)
            return TargetResult(name, True, await invoke_service(self._invocation, call))
        except CancelledError:
            raise
        except Exception as error:
            return TargetResult(name, False, exception=error)


@frozen
class Fanout:
    """Invokes several services in parallel. The final callbacks are invoked when all results are available."""

    _invocation: Invocation

    def invoke(self, targets: Targets, on_final: Any, on_target: Any = None, cid: str | None = None) -> Any:
        """Invoke all targets through the work stream, `on_target` with a report of each result, and `on_final` with all
        of them. Returns the cid."""
        return run_from_any_thread(self._invocation, lambda: self._open(targets, on_final, on_target, cid))

    __call__ = invoke

    async def _open(self, targets: Targets, on_final: Any, on_target: Any, cid: str | None) -> str:
        invocation = self._invocation
        groups = getattr(invocation.invoker.node, 'result_groups', None)
        if groups is None:
            raise ServiceUnavailable(invocation.message.cid, 'patterns.fanout needs a server: there is none here')
        name, cid = invocation.entry.name, cid or invocation.message.cid
        finals = callbacks_of(invocation, name, on_final or 'self')
        if not targets:
            raise BadRequest(invocation.message.cid, 'patterns.fanout needs at least one target')
        payload = {'source': name, 'req_ts_utc': to_timestamp(invocation.invoker.now()), 'on_final': list(finals),
                   'on_target': list(callbacks_of(invocation, name, on_target)) if on_target else []}  # fmt: skip
        group = new_cid()
        final = [make_work_message(invocation, one, payload, cid=new_cid(), in_reply_to=cid) for one in finals]
        parts = [target_name(target) for target in targets]
        await groups.open(group, parts, msgspec.msgpack.encode([encode_work(one) for one in final]))
        return await _add_targets(invocation, targets, on_target, cid, group)


@frozen
class InvokeRetry:
    """Invokes a service, and repeats the invocation until it succeeds or the maximum number of repeats is reached."""

    _invocation: Invocation

    def invoke(
        self, target: Any, payload: Any = '', *, repeats: int = DEFAULT_REPEATS, seconds: float | None = None,
        minutes: float | None = None, async_fallback: bool = False, callback: Any = None, context: Any = None,
        **options: Any,
    ) -> Any:
        """Invoke a service, and if it fails again, up to `repeats` times with pauses of `seconds` or `minutes`; returns
        its result, or raises its last error. With `async_fallback`, only the first attempt is made here: after a
        failure the work stream makes the others, `callback` gets a report, and the cid is returned."""
        pause = read_pause(seconds, minutes)
        check_repeats(repeats)
        return run_from_any_thread(self._invocation, lambda: self._invoke(
            ServiceInvocation(target=target, payload=payload, options=options), repeats, pause,
            fallback=(callback, context) if async_fallback else None))  # fmt: skip

    __call__ = invoke

    def invoke_async(
        self, target: Any, payload: Any = '', *, repeats: int = DEFAULT_REPEATS, seconds: float | None = None,
        minutes: float | None = None, callback: Any = None, context: Any = None, cid: str | None = None,
    ) -> Any:
        """Invoke a service through the work stream until it succeeds, as `invoke` does. `callback` gets a report of the
        result, or of the last failure. Returns the cid."""
        pause = read_pause(seconds, minutes)
        check_repeats(repeats)
        callbacks = (callback, context)
        return run_from_any_thread(self._invocation, lambda: self._add(target, payload, repeats, pause, callbacks, cid))

    async def _invoke(
        self, call: ServiceInvocation, repeats: int, pause: float, *, fallback: tuple[Any, Any] | None
    ) -> Any:
        clock, made = self._invocation.invoker.reactor, 0
        while True:
            try:
                return await invoke_service(self._invocation, call)
            except CancelledError:
                raise
            except Exception:
                made += 1
                if fallback is not None:
                    return await self._add(call.target, call.payload, repeats, pause, fallback, None)
                if made > repeats:
                    raise
            await deferLater(clock, pause * (1 - _JITTER * _random.random()))

    async def _add(
        self, target: Any, payload: Any, repeats: int, pause: float, report: tuple[Any, Any], cid: str | None
    ) -> str:
        invocation, (callback, context) = self._invocation, report
        name = target_name(target)
        cid = cid or invocation.message.cid
        callbacks = callbacks_of(invocation, invocation.entry.name, callback) if callback else ()
        await write_to_work_stream(invocation, [make_work_message(
            invocation, name, payload, cid=cid, callbacks=callbacks, source=invocation.entry.name, context=context,
            max_attempts=repeats, backoff=pause, max_delay=pause, retries_all=True,
        )])  # fmt: skip
        return cid


@frozen
class Patterns:
    """The object `self.patterns`, which has an attribute for each pattern."""

    _invocation: Invocation

    @property
    def parallel(self) -> Parallel:
        """Several services at once."""
        return Parallel(self._invocation)

    @property
    def fanout(self) -> Fanout:
        """Several services, then others with all results."""
        return Fanout(self._invocation)

    @property
    def invoke_retry(self) -> InvokeRetry:
        """A service until it succeeds."""
        return InvokeRetry(self._invocation)


async def _add_targets(invocation: Invocation, targets: Targets, callback: Any, cid: str | None, group: str) -> str:
    """Write a message for each target; returns their cid."""
    cid = cid or invocation.message.cid
    source = invocation.entry.name
    callbacks = callbacks_of(invocation, source, callback) if callback else ()
    messages: list[WorkMessage] = []
    for target, payload in targets.items():
        name = target_name(target)
        messages.append(make_work_message(invocation, name, payload, cid=cid, callbacks=callbacks, source=source,
                                          group=group, part=name))  # fmt: skip
    await write_to_work_stream(invocation, messages)
    return cid


def read_pause(seconds: float | None, minutes: float | None) -> float:
    """Convert a pause in seconds or minutes to seconds. Raises ValueError."""
    if seconds is not None and minutes is not None:
        raise ValueError('Give either seconds or minutes, not both')
    pause = minutes * 60 if minutes is not None else DEFAULT_SECONDS if seconds is None else seconds
    if not 0 < pause <= 86_400:
        raise ValueError(f'The pause between two attempts is above 0 and at most a day, not {pause:g} seconds')
    return pause


def check_repeats(repeats: int) -> None:
    """Raise ValueError for an invalid number of repeats."""
    if not 1 <= repeats <= 1_000_000:
        raise ValueError(f'repeats is 1 to 1,000,000, not {repeats}')
