"""The steps of a call that has hooks, in Zato's order; who runs them decides how to wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any

from twisted.internet.defer import CancelledError

from zatotx.model.errors import BadRequest
from zatotx.service import hooks as hook_order

Steps = Generator[Any, Any, Any]


def hook_steps(service: Any, handler: Any, hooks: frozenset[str], job_type: str | None) -> Steps:
    """Yields what each step gave, awaitable or not, and is sent what came of it. Its value is what `handle` gave."""
    if 'accept' in hooks and not (yield service.accept()):
        raise BadRequest(service.cid, 'The service does not accept this request')
    if 'validate_input' in hooks:
        yield service.validate_input()
    for name in hook_order.hooks_before(hooks, job_type):
        yield from _quiet(service, name)
    returned = yield handler.function(service)
    run = service._zatotx
    run.returned_at = run.invoker.now()
    if 'validate_output' in hooks:
        yield service.validate_output()
    for name in hook_order.hooks_after(hooks, job_type):
        yield from _quiet(service, name)
    return returned


def _quiet(service: Any, name: str) -> Steps:
    """A hook whose mistakes are logged and passed over."""
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
    """Run the steps in a thread; what has to be awaited is awaited by `wait`."""
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
