"""zato.history.*: who changed what, the configuration of any revision, and the way back to it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from zatotx.api.base import AdminService, bad_request
from zatotx.interfaces.config import HistoryRow
from zatotx.model.errors import ServiceUnavailable
from zatotx.rules.enmasse.export import export
from zatotx.rules.enmasse.plan_restore import operations, plan_restore, shown
from zatotx.schema.snapshot import Snapshot
from zatotx.schema.type_registry import ObjectTypes
from zatotx.service.io.elements import Bool, Int, Text

MOST = 10_000  # changes in one answer
USUAL = 100
LIVE_WITHIN = 60.0  # seconds all nodes have to apply a restored revision


class GetList(AdminService):
    """Changes, newest first: who, when, from where, old and new with secrets masked. `name`: what the object is called,
    or was once; `since`: only what came after that revision."""

    name = 'zato.history.get-list'

    class SimpleIO:
        input_optional = (Text('type'), Text('name'), Int('since'), Int('revision'), Int('limit'))

    async def handle(self) -> None:
        asked = self.request.input
        limit = asked.limit or USUAL
        if not 0 < limit <= MOST:
            raise bad_request('limit', f'must be 1 to {MOST}')
        rows = await self.server.odb.history(
            limit,
            type=asked.type or '',
            name=asked.name or '',
            since=asked.since or 0,
            revision=asked.revision or 0,
        )
        self.response.payload = [to_row(row) for row in rows]


class Export(AdminService):
    """The configuration as it was at `revision`, as YAML; secrets as `${NAME}` unless asked for."""

    name = 'zato.history.export'

    class SimpleIO:
        input_required = (Int('revision'),)
        input_optional = (Bool('include_secrets'),)

    async def handle(self) -> None:
        asked = self.request.input
        state = await self.server.odb.state_at(asked.revision)
        text = await self.server.offload(to_yaml, state, self.server.types, bool(asked.include_secrets))
        self.response.payload = {'yaml': text, 'revision': asked.revision}


class Restore(AdminService):
    """Bring the configuration back to what it was at `revision`, or with `dry_run` say what that would change. All or
    nothing, as a new revision; live on every node when it answers. Deployed code stays as it is."""

    name = 'zato.history.restore'

    class SimpleIO:
        input_required = (Int('revision'),)
        input_optional = (Bool('dry_run'),)

    async def handle(self) -> None:
        asked, config, types = self.request.input, self.server.config, self.server.types
        then = await self.server.odb.state_at(asked.revision)
        steps = plan_restore(config.snapshot, then, types)
        revision = config.snapshot.revision
        if steps and not asked.dry_run:
            revision = await config.change(operations(steps), self.actor)
            behind = await config.everywhere(revision, LIVE_WITHIN)
            if behind:
                nodes = ', '.join(behind)
                raise ServiceUnavailable(self.cid, f'The restored revision is stored, but not in force yet on {nodes}')
        self.response.payload = {
            'diff': [line for step in steps for line in shown(step, types)],
            'changed': len(steps),
            'dry_run': bool(asked.dry_run),
            'revision': revision,
        }


def to_row(row: HistoryRow) -> dict[str, Any]:
    """A change as programs get it."""
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


def to_yaml(snapshot: Snapshot, types: ObjectTypes, secrets: bool) -> str:
    """The enmasse document of a configuration. In a thread: it may be long."""
    import yaml  # nearly a megabyte, for what is asked for now and then

    document = export(snapshot, types, secrets=secrets)
    dumper = getattr(yaml, 'CSafeDumper', yaml.SafeDumper)
    text: str = yaml.dump(document, Dumper=dumper, allow_unicode=True, sort_keys=False, default_flow_style=False)
    return text


SERVICES = (GetList, Export, Restore)
