"""Runs the hooks of a service around its handler, in Zato's order, on the reactor or in a thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any

from twisted.internet.defer import CancelledError

from zatotx.model.errors import BadRequest
from zatotx.service import hooks as hook_order

Steps = Generator[Any, Any, Any]


def hook_steps(service: Any, handler: Any, hooks: frozenset[str], job_type: str | None) -> Steps:
    """Yield the result of each step, which may be awaitable; the caller sends back the awaited value.

    The generator returns what `handle` returned.
    """
    if 'accept' in hooks and not (yield service.accept()):
        raise BadRequest(service.cid, 'The service does not accept this request')
    if 'validate_input' in hooks:
        yield service.validate_input()
    for name in hook_order.hooks_before_handle(hooks, job_type):
        yield from _log_errors(service, name)
    returned = yield handler.function(service)
    invocation = service._zatotx
    invocation.returned_at = invocation.invoker.now()
    if 'validate_output' in hooks:
        yield service.validate_output()
    for name in hook_order.hooks_after_handle(hooks, job_type):
        yield from _log_errors(service, name)
    return returned


def _log_errors(service: Any, name: str) -> Steps:
    """Run a hook whose exceptions are logged and ignored."""
    try:
        yield getattr(service, name)()
    except CancelledError:
        raise
    except Exception:
        service.logger.exception('%s of %s failed; the call goes on', name, service.name)


async def run_steps(steps: Steps) -> Any:
    """Run the steps on the reactor."""
    try:
        value = next(steps)
        while True:
            if isinstance(value, Awaitable):
                try:
                    value = await value
                except Exception as error:
                    value = steps.throw(error)
                    continue
            value = steps.send(value)
    except StopIteration as end:
        return end.value


def run_steps_blocking(steps: Steps, wait: Callable[[Awaitable[Any]], Any]) -> Any:
    """Run the steps in a thread; `wait` blocks until an awaitable has its result."""
    try:
        value = next(steps)
        while True:
            if isinstance(value, Awaitable):
                try:
                    value = wait(value)
                except Exception as error:
                    value = steps.throw(error)
                    continue
            value = steps.send(value)
    except StopIteration as end:
        return end.value
