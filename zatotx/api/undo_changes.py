"""The service zato.history.undo, which undoes single changes and keeps all later changes."""

from __future__ import annotations

from zatotx.api.admin_service import AdminService, bad_field_error
from zatotx.api.configuration_history import APPLY_TIMEOUT, MAX_ROWS
from zatotx.model.errors import Conflict, NotFound, ServiceUnavailable
from zatotx.rules.enmasse.restore_plan import (
    RestoreStep,
    describe_restore_step,
    plan_restore,
    restore_steps_to_operations,
)
from zatotx.service.io.elements import Text

MAX_REVISIONS = 200


class UndoChanges(AdminService):
    """Undo the changes of `revisions` (comma-separated). The changed or deleted objects are restored to their previous
    state in one change. If one of the objects was changed again later, the response is 409, and nothing is changed."""

    name = 'zato.history.undo'

    class SimpleIO:
        input_required = (Text('revisions'),)

    async def handle(self) -> None:
        config, types = self.server.config, self.server.types
        steps: list[RestoreStep] = []
        changed_since: list[str] = []
        for revision in self._revisions():
            rows = await self.server.odb.history(MAX_ROWS, revision=revision)
            touched = {(row.type, row.name) for row in rows}
            if not touched:
                raise NotFound(self.cid, f'The history has no revision {revision}')
            before = await self.server.odb.snapshot_at(revision - 1)
            after = await self.server.odb.snapshot_at(revision)
            later = [step for step in plan_restore(config.snapshot, after, types) if _names(step) & touched]
            changed_since += [name for step in later for _, name in sorted(_names(step))]
            steps += [step for step in plan_restore(config.snapshot, before, types) if _names(step) & touched]
        if changed_since:
            names = ', '.join(sorted(set(changed_since)))
            raise Conflict(self.cid, f'{names}: changed again since. Restore it from the history instead')
        revision = config.snapshot.revision
        if steps:
            revision = await config.change(restore_steps_to_operations(steps), self.actor)
            lagging_nodes = await config.wait_until_applied(revision, APPLY_TIMEOUT)
            if lagging_nodes:
                nodes = ', '.join(lagging_nodes)
                raise ServiceUnavailable(self.cid, f'The change is taken back, but not in force yet on {nodes}')
        self.response.payload = {
            'diff': [line for step in steps for line in describe_restore_step(step, types)], 'changed': len(steps),
            'revision': revision,
        }  # fmt: skip

    def _revisions(self) -> list[int]:
        parts = [part.strip() for part in str(self.request.input.revisions).split(',') if part.strip()]
        if not parts or len(parts) > MAX_REVISIONS or not all(part.isdecimal() for part in parts):
            raise bad_field_error('revisions', f'must be 1 to {MAX_REVISIONS} numbers, separated by commas')
        return sorted({int(part) for part in parts}, reverse=True)


def _names(step: RestoreStep) -> set[tuple[str, str]]:
    return {(stored.type, stored.name) for stored in (step.current, step.earlier) if stored is not None}


SERVICES = (UndoChanges,)
