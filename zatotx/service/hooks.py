"""What a service may do around `handle`, and in which order it is asked (feature map 3.4).

A hook that a class does not override costs a call nothing. Exceptions in `before_…`, `after_…` and `finalize_handle`
are logged and passed over, as in Zato; those of `validate_…` and of `handle` end the call.
"""

from __future__ import annotations

from typing import Any


class Hooks:
    """The hooks with what they do when nobody overrides them: nothing."""

    @staticmethod
    def before_add_to_store(logger: Any) -> Any:
        """Called when the service is deployed; a false value keeps it out."""
        return True

    @staticmethod
    def after_add_to_store(logger: Any) -> None:
        """Called when the service is deployed and can be reached."""

    def accept(self) -> Any:
        """A false value refuses the request with 400, before anything else is run."""
        return True

    def validate_input(self) -> Any:
        """Check `self.request`; raise BadRequest where it is wrong."""

    def before_job(self) -> Any:
        """Before a scheduled job of any type."""

    def before_handle(self) -> Any:
        """Right before `handle`."""

    def validate_output(self) -> Any:
        """Check `self.response` after `handle`."""

    def after_handle(self) -> Any:
        """After `handle` ended well."""

    def after_job(self) -> Any:
        """After a scheduled job of any type ended well."""

    def finalize_handle(self) -> Any:
        """The last word, after everything ended well."""


class JobHooks:
    """The hooks of one type of job each."""

    def before_one_time_job(self) -> Any:
        """Before a one-time job."""

    def before_interval_based_job(self) -> Any:
        """Before a run of an interval-based job."""

    def before_cron_style_job(self) -> Any:
        """Before a run of a cron-style job."""

    def after_one_time_job(self) -> Any:
        """After a one-time job ended well."""

    def after_interval_based_job(self) -> Any:
        """After a run of an interval-based job ended well."""

    def after_cron_style_job(self) -> Any:
        """After a run of a cron-style job ended well."""


JOB_TYPES = ('one_time', 'interval_based', 'cron_style')
PER_CALL = frozenset(
    name
    for base in (Hooks, JobHooks)
    for name in vars(base)
    if not name.startswith('_') and not name.endswith('_to_store')
)


def overridden_hooks(cls: type) -> frozenset[str]:
    """The hooks of a call that a class has of its own."""
    return frozenset(
        name
        for name in PER_CALL
        if getattr(cls, name, None) is not (getattr(Hooks, name, None) or getattr(JobHooks, name, None))
    )


def hooks_before(hooks: frozenset[str], job_type: str | None) -> list[str]:
    """Those to run before `handle`, in order. `job_type` is None outside the scheduler."""
    wanted = ['before_job', f'before_{job_type}_job', 'before_handle'] if job_type is not None else ['before_handle']
    return [name for name in wanted if name in hooks]


def hooks_after(hooks: frozenset[str], job_type: str | None) -> list[str]:
    """Those to run after `handle` ended well, in order."""
    jobs = ['after_job', f'after_{job_type}_job'] if job_type is not None else []
    return [name for name in ('after_handle', *jobs, 'finalize_handle') if name in hooks]
