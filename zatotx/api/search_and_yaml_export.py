"""The services zato.schema.get-matches, which searches objects by words, and zato.schema.get-yaml, which exports
selected objects as YAML."""

from __future__ import annotations

from itertools import islice
from typing import Any

from zatotx.api.admin_service import AdminService, bad_field_error
from zatotx.api.configuration_history import snapshot_to_yaml
from zatotx.api.object_search import find_objects
from zatotx.model.errors import NotFound
from zatotx.schema.service_config import SERVICE
from zatotx.schema.snapshot import Snapshot
from zatotx.service.io.elements import Int, Text

MAX_OBJECTS = 10_000
DEFAULT_MATCHES = 20  # of each type
MAX_ON_REACTOR = 200  # objects that are searched on the reactor


class ExportObjectsAsYaml(AdminService):
    """Return the objects of a `type` with the given `ids` (comma-separated) as YAML for `zato.enmasse.import`.

    Secrets are `${NAME}`. Objects that the broker creates itself are left out: every environment has its own.
    """

    name = 'zato.schema.get-yaml'

    class SimpleIO:
        input_required = (Text('type'), Text('ids'))

    async def handle(self) -> None:
        request_input, snapshot = self.request.input, self.server.config.snapshot
        parts = [part.strip() for part in str(request_input.ids).split(',') if part.strip()]
        if not parts or len(parts) > MAX_OBJECTS or not all(part.isdecimal() for part in parts):
            raise bad_field_error('ids', f'must be 1 to {MAX_OBJECTS} numbers, separated by commas')
        found = [snapshot.get(int(part)) for part in parts]
        chosen = [stored for stored in found if stored is not None and stored.type == request_input.type]
        if len(chosen) < len(parts):
            raise NotFound(self.cid, f'{len(parts) - len(chosen)} of these objects do not exist')
        text = await self.server.run_in_thread(
            snapshot_to_yaml, Snapshot(snapshot.revision, chosen), self.server.types, False
        )
        self.response.payload = {'yaml': text, 'revision': snapshot.revision}


class FindObjectsByWords(AdminService):
    """List the objects whose texts contain every word of `query`, by name. All types are searched, except for services,
    and at most `limit` objects of each type are returned. Secrets are not searched."""

    name = 'zato.schema.get-matches'

    class SimpleIO:
        input_required = (Text('query'),)
        input_optional = (Int('limit'),)

    async def handle(self) -> None:
        request_input, snapshot = self.request.input, self.server.config.snapshot
        limit = request_input.limit or DEFAULT_MATCHES
        if not 0 < limit <= MAX_OBJECTS:
            raise bad_field_error('limit', f'must be 1 to {MAX_OBJECTS}')
        types = {one.key: one for one in self.server.types if one.zato is not None and one.key != SERVICE.key}

        def find() -> list[dict[str, Any]]:
            rows: list[dict[str, Any]] = []
            for key in types:
                found = find_objects(types, snapshot.objects_of_types(key), str(request_input.query))
                rows += [{'id': one.id, 'type': key, 'name': one.name} for one in islice(found, limit)]
            return rows

        is_large = len(snapshot) > MAX_ON_REACTOR
        self.response.payload = await self.server.run_in_thread(find) if is_large else find()


SERVICES = (FindObjectsByWords, ExportObjectsAsYaml)
