"""zato.schema.get-yaml: some objects as an enmasse document."""

from __future__ import annotations

from zatotx.api.base import AdminService, bad_request
from zatotx.api.history import snapshot_to_yaml
from zatotx.model.errors import NotFound
from zatotx.schema.snapshot import Snapshot
from zatotx.service.io.elements import Text

MAX_OBJECTS = 10_000


class GetYaml(AdminService):
    """Return the objects of a `type` with these `ids` (comma-separated) as YAML for `zato.enmasse.import`.

    Secrets are `${NAME}`. Objects that the broker creates itself are left out: every environment has its own.
    """

    name = 'zato.schema.get-yaml'

    class SimpleIO:
        input_required = (Text('type'), Text('ids'))

    async def handle(self) -> None:
        request_input, snapshot = self.request.input, self.server.config.snapshot
        parts = [part.strip() for part in str(request_input.ids).split(',') if part.strip()]
        if not parts or len(parts) > MAX_OBJECTS or not all(part.isdecimal() for part in parts):
            raise bad_request('ids', f'must be 1 to {MAX_OBJECTS} numbers, separated by commas')
        found = [snapshot.get(int(part)) for part in parts]
        chosen = [stored for stored in found if stored is not None and stored.type == request_input.type]
        if len(chosen) < len(parts):
            raise NotFound(self.cid, f'{len(parts) - len(chosen)} of these objects do not exist')
        text = await self.server.run_in_thread(
            snapshot_to_yaml, Snapshot(snapshot.revision, chosen), self.server.types, False
        )
        self.response.payload = {'yaml': text, 'revision': snapshot.revision}


SERVICES = (GetYaml,)
