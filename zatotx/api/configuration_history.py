"""The services zato.history.*, which list configuration changes, export the configuration at any revision, and restore
a revision.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from zatotx.api.admin_service import AdminService, bad_field_error
from zatotx.interfaces.config import HistoryRow
from zatotx.model.errors import ServiceUnavailable
from zatotx.rules.enmasse.document_export import export_document
from zatotx.rules.enmasse.restore_plan import describe_restore_step, plan_restore, restore_steps_to_operations
from zatotx.schema.snapshot import Snapshot
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.service.io.elements import Bool, Int, Text

MAX_ROWS = 10_000  # maximum number of changes in a response
DEFAULT_ROWS = 100
APPLY_TIMEOUT = 60.0  # seconds that all nodes have to apply a restored revision


class GetList(AdminService):
    """List configuration changes, with the newest first. Each change has the author, the time, the client address, and
    the old and new values with secrets masked.

    `name` is the current or a former name of the object; `since` limits the list to changes after that revision. With
    `without_values`, the old and new values are left out.
    """

    name = 'zato.history.get-list'

    class SimpleIO:
        input_optional = (
            Text('type'), Text('name'), Int('since'), Int('revision'), Int('limit'), Bool('without_values'),
        )  # fmt: skip

    async def handle(self) -> None:
        request_input = self.request.input
        limit = request_input.limit or DEFAULT_ROWS
        if not 0 < limit <= MAX_ROWS:
            raise bad_field_error('limit', f'must be 1 to {MAX_ROWS}')
        rows = await self.server.odb.history(
            limit,
            type=request_input.type or '',
            name=request_input.name or '',
            since=request_input.since or 0,
            revision=request_input.revision or 0,
            has_values=not request_input.without_values,
        )
        self.response.payload = [to_history_row(row) for row in rows]


class Export(AdminService):
    """Return the configuration at `revision` as YAML. Secrets are written as `${NAME}` unless the request asks for
    them."""

    name = 'zato.history.export'

    class SimpleIO:
        input_required = (Int('revision'),)
        input_optional = (Bool('include_secrets'),)

    async def handle(self) -> None:
        request_input = self.request.input
        state = await self.server.odb.snapshot_at(request_input.revision)
        text = await self.server.run_in_thread(
            snapshot_to_yaml, state, self.server.types, bool(request_input.include_secrets)
        )
        self.response.payload = {'yaml': text, 'revision': request_input.revision}


class Restore(AdminService):
    """Restore the configuration of the revision `revision`. With `dry_run`, only return the changes that this would
    make.

    The change is atomic, creates a new revision, and is live on every node when the service responds. Deployed code is
    not changed.
    """

    name = 'zato.history.restore'

    class SimpleIO:
        input_required = (Int('revision'),)
        input_optional = (Bool('dry_run'),)

    async def handle(self) -> None:
        request_input, config, types = self.request.input, self.server.config, self.server.types
        old_snapshot = await self.server.odb.snapshot_at(request_input.revision)
        steps = plan_restore(config.snapshot, old_snapshot, types)
        revision = config.snapshot.revision
        if steps and not request_input.dry_run:
            revision = await config.change(restore_steps_to_operations(steps), self.actor)
            lagging_nodes = await config.wait_until_applied(revision, APPLY_TIMEOUT)
            if lagging_nodes:
                nodes = ', '.join(lagging_nodes)
                raise ServiceUnavailable(self.cid, f'The restored revision is stored, but not in force yet on {nodes}')
        self.response.payload = {
            'diff': [line for step in steps for line in describe_restore_step(step, types)],
            'changed': len(steps),
            'dry_run': bool(request_input.dry_run),
            'revision': revision,
        }


def to_history_row(row: HistoryRow) -> dict[str, Any]:
    """Convert a history entry to a row of the response."""
    return {
        'revision': row.revision,
        'at': datetime.fromtimestamp(row.at, UTC).isoformat(),
        'who': row.who,
        'source': row.source,
        'address': row.address,
        'cid': row.cid,
        'action': row.action,
        'type': row.type,
        'name': row.name,
        'old': row.old,
        'new': row.new,
    }


def snapshot_to_yaml(
    snapshot: Snapshot, types: ObjectTypeRegistry, secrets: bool, more: Mapping[str, Any] | None = None
) -> str:
    """Convert a configuration snapshot, and additional sections `more`, to an enmasse document. The function must be
    called in a thread, because the document may be large."""
    import yaml  # imported on demand, as it takes nearly a megabyte

    document = {**export_document(snapshot, types, secrets=secrets), **(more or {})}
    dumper = getattr(yaml, 'CSafeDumper', yaml.SafeDumper)
    text: str = yaml.dump(document, Dumper=dumper, allow_unicode=True, sort_keys=False, default_flow_style=False)
    return text


SERVICES = (GetList, Export, Restore)
