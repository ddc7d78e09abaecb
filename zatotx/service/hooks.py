"""The hooks that a service can define in addition to `handle`, and the order in which they run.

A hook that a class does not override adds no cost to a call. Exceptions in `before_…`, `after_…` and `finalize_handle`
are logged and ignored, as in Zato; those of `validate_…` and of `handle` end the call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any

from twisted.internet.defer import CancelledError

from zatotx.model.errors import BadRequest


class Hooks:
    """Base class with the hooks of a service. By default, each hook does nothing."""

    @staticmethod
    def before_add_to_store(logger: Any) -> Any:
        """Called when the service is deployed; return a false value to leave it out."""
        return True

    @staticmethod
    def after_add_to_store(logger: Any) -> None:
        """Called after the service was deployed, when it can be invoked."""

    def accept(self) -> Any:
        """Called first; return a false value to reject the request with status 400."""
        return True

    def validate_input(self) -> Any:
        """Check `self.request`; raise BadRequest if it is invalid."""

    def before_job(self) -> Any:
        """Called before a scheduled job of any type."""

    def before_handle(self) -> Any:
        """Called right before `handle`."""

    def validate_output(self) -> Any:
        """Check `self.response` after `handle`."""

    def after_handle(self) -> Any:
        """Called after `handle` succeeded."""

    def after_job(self) -> Any:
        """Called after a scheduled job of any type succeeded."""

    def finalize_handle(self) -> Any:
        """Called last, after everything else succeeded."""


class JobHooks:
    """Base class with the hooks that are specific to the job types of the scheduler."""

    def before_one_time_job(self) -> Any:
        """Called before a one-time job."""

    def before_interval_based_job(self) -> Any:
        """Called before a run of an interval-based job."""

    def before_cron_style_job(self) -> Any:
        """Called before a run of a cron-style job."""

    def after_one_time_job(self) -> Any:
        """Called after a one-time job succeeded."""

    def after_interval_based_job(self) -> Any:
        """Called after a run of an interval-based job succeeded."""

    def after_cron_style_job(self) -> Any:
        """Called after a run of a cron-style job succeeded."""


JOB_TYPES = ('one_time', 'interval_based', 'cron_style')
CALL_HOOKS = frozenset(
    name
    for base in (Hooks, JobHooks)
    for name in vars(base)
    if not name.startswith('_') and not name.endswith('_to_store')
)


def overridden_hooks(cls: type) -> frozenset[str]:
    """Return the names of the per-call hooks that a class overrides."""
    return frozenset(
        name
        for name in CALL_HOOKS
        if getattr(cls, name, None) is not (getattr(Hooks, name, None) or getattr(JobHooks, name, None))
    )


def hooks_before_handle(hooks: frozenset[str], job_type: str | None) -> list[str]:
    """Return the hooks to run before `handle`, in order. `job_type` is None if the service was not invoked by the
    scheduler."""
    names = ['before_job', f'before_{job_type}_job', 'before_handle'] if job_type is not None else ['before_handle']
    return [name for name in names if name in hooks]


def hooks_after_handle(hooks: frozenset[str], job_type: str | None) -> list[str]:
    """Return the hooks to run after `handle` succeeded, in order."""
    job_names = ['after_job', f'after_{job_type}_job'] if job_type is not None else []
    return [name for name in ('after_handle', *job_names, 'finalize_handle') if name in hooks]


Steps = Generator[Any, Any, Any]


def iterate_hooks_and_handler(service: Any, handler: Any, hooks: frozenset[str], job_type: str | None) -> Steps:
    """Yield the results of the hooks and the handler one after another. If a result is awaitable, the caller must await
    it and send the value back to the generator.

    The generator returns what `handle` returned.
    """
    if 'accept' in hooks and not (yield service.accept()):
        raise BadRequest(service.cid, 'The service does not accept this request')
    if 'validate_input' in hooks:
        yield service.validate_input()
    for name in hooks_before_handle(hooks, job_type):
        yield from _log_errors(service, name)
    returned = yield handler.function(service)
    invocation = service._zatotx
    invocation.returned_at = invocation.invoker.now()
    if 'validate_output' in hooks:
        yield service.validate_output()
    for name in hooks_after_handle(hooks, job_type):
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


async def run_steps_on_reactor(steps: Steps) -> Any:
    """Run the hooks and the handler of a service in the reactor's thread."""
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
    """Run the hooks and the handler of a service in another thread. `wait` blocks until an awaitable has a result."""
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
