"""Implements `self.schedule`, with which services create jobs, and `self.job`, which is the job for which a service
runs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from zatotx.model.cid import new_cid
from zatotx.model.errors import BadInput, ServiceUnavailable
from zatotx.schema.scheduler_job import ONE_TIME, SCHEDULER_JOB
from zatotx.schema.snapshot import Actor, Operation
from zatotx.schema.validation import validate, validate_change
from zatotx.service.async_invoke import require_service, run_from_any_thread, target_name
from zatotx.service.invocation import Invocation

_SOURCE = 'self.schedule'
_PREFIX = 'self.schedule'  # of the names of jobs that get none


class Schedule:
    """Creates scheduler jobs. Its methods must be awaited in `async def` services."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation

    def onetime(
        self, *target: Any, name: str = '', prefix: str = '', start_date: str | datetime = '',
        after_seconds: float = 0, after_minutes: float = 0, data: Any = '',
    ) -> Any:
        """Run a service once: at `start_date` (UTC if it has no zone), or after so many seconds and minutes. Returns
        the id of the job, which stays listed after its run.

        `target`: the name or class of the service; Zato's form with the calling service before it works, too. `data`:
        the service's request.raw_request; values other than text become JSON. `name`: default is `prefix`, the name of
        the service and a number. Raises NotFound for an unknown service, BadInput for a time in the past, Conflict if
        the name is taken, ServiceUnavailable or Timeout if the ODB is unavailable.
        """
        if not target or len(target) > 2:
            raise TypeError('onetime() needs the service to run')
        return run_from_any_thread(
            self._invocation,
            lambda: self._create(target[-1], name, prefix, self._start(start_date, after_seconds, after_minutes), data),
        )

    def _start(self, start_date: str | datetime, seconds: float, minutes: float) -> Any:
        if not start_date:
            now = datetime.fromtimestamp(self._invocation.invoker.now(), UTC)
            return now + timedelta(seconds=seconds, minutes=minutes)
        if isinstance(start_date, str):
            try:
                start_date = datetime.fromisoformat(start_date.strip())
            except ValueError:
                return start_date  # reported by the validation
        return start_date if start_date.tzinfo is not None else start_date.replace(tzinfo=UTC)

    async def _create(self, target: Any, name: str, prefix: str, start: Any, data: Any) -> int:
        invocation = self._invocation
        service = target_name(target)
        require_service(invocation, service)
        text = data if isinstance(data, str) else json.dumps(msgspec.to_builtins(data), ensure_ascii=False)
        document = {'name': name or f'{prefix or _PREFIX}.{service}.{new_cid()}', 'service': service,
                    'job_type': ONE_TIME, 'start_date': start, 'extra': text}  # fmt: skip
        job, errors = validate(SCHEDULER_JOB, document)
        # A time that has come meanwhile is due at once, and not an error.
        not_before = datetime.fromtimestamp(invocation.started_at - 1, UTC)
        errors += validate_change(SCHEDULER_JOB, job, None, not_before)
        if errors:
            raise BadInput(errors, invocation.message.cid)
        config = getattr(invocation.invoker.node, 'config', None)
        if config is None:
            raise ServiceUnavailable(invocation.message.cid, 'Jobs need a server: there is none here')
        principal = invocation.message.principal
        username = principal.username or principal.name if principal else ''
        actor = Actor(username, _SOURCE, invocation.message.cid, at=invocation.started_at)
        fields = msgspec.structs.asdict(job)
        await config.change([Operation(action='create', type=SCHEDULER_JOB.key, name=job.name, fields=fields)], actor)
        stored = config.snapshot.find(SCHEDULER_JOB.key, job.name)
        return 0 if stored is None else int(stored.id)
