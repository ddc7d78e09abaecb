"""The services zato.service.get-list, get-by-name, edit, delete and get-channel-list, which manage the services of the
cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from zatotx.api.admin_service import AdminService
from zatotx.api.zato_object_conversion import align_columns, object_to_row, parse_changes
from zatotx.model.errors import BadInput, Conflict, NotFound
from zatotx.schema.meta import ObjectType, reference_fields
from zatotx.schema.name_suggestion import suggest_similar_name
from zatotx.schema.references import SnapshotReferences
from zatotx.schema.snapshot import Operation, Snapshot, StoredObject
from zatotx.service.io.elements import AsIs, Int, Text
from zatotx.service.naming import implementation_name

KEY = 'service'  # key of the object type; also the namespace of references from channels


def service_not_found_message(snapshot: Snapshot, name: str) -> str:
    """Return the error message for a service that does not exist."""
    suggestion = suggest_similar_name(name, (row.name for row in snapshot.objects_of_types(KEY)))
    return f'No service is called {name!r}{suggestion}'


class ServiceAdminService(AdminService):
    """Base class of the services that manage services."""

    zato_dont_import = True

    def by_id(self, object_id: int) -> StoredObject:
        """Return the configuration object of a service. Raises NotFound."""
        stored: StoredObject | None = self.server.config.snapshot.get(object_id)
        if stored is None or stored.type != KEY:
            raise NotFound(self.cid, f'No service has the id {object_id}')
        return stored

    def by_name(self, name: str) -> StoredObject:
        """Return the configuration object of a service. Raises NotFound."""
        stored: StoredObject | None = self.server.config.snapshot.find(KEY, name)
        if stored is None:
            raise NotFound(self.cid, service_not_found_message(self.server.config.snapshot, name))
        return stored

    def to_row(self, stored: StoredObject) -> dict[str, Any]:
        """Return a service as a row as in Zato; `file` and `version` identify its code."""
        entry = self.server.services.current.get(stored.name)
        return {
            'id': stored.id,
            'name': stored.name,
            'is_active': stored.value.is_active,
            'impl_name': stored.value.impl_name if entry is None else implementation_name(entry.cls),
            'is_internal': stored.value.is_internal,
            'may_be_deleted': not stored.value.is_internal and not stored.value.file,
            'usage': 0 if entry is None else getattr(entry.stats, 'calls', 0),
            'slow_threshold': stored.value.slow_threshold,
            'max_in_flight': stored.value.max_in_flight or '',
            'roles': list(stored.value.roles),
            'file': stored.value.file,
            'version': 0 if entry is None else entry.version,
            'revision': stored.revision,
        }


class GetList(ServiceAdminService):
    """List the services whose names contain every word of `name_filter`. An empty filter or `*` selects all
    services."""

    name = 'zato.service.get-list'

    class SimpleIO:
        input_optional = ('cluster_id', Text('name_filter'))

    async def handle(self) -> None:
        words = str(self.request.input.name_filter).lower().replace('*', ' ').split()
        self.response.payload = [
            self.to_row(stored)
            for stored in self.server.config.snapshot.objects_of_types(KEY)
            if all(word in stored.name.lower() for word in words)
        ]


class GetByName(ServiceAdminService):
    """Return one service."""

    name = 'zato.service.get-by-name'

    class SimpleIO:
        input_required = (Text('name'),)

    async def handle(self) -> None:
        self.response.payload = self.to_row(self.by_name(self.request.input.name))


class GetById(ServiceAdminService):
    """Return the service with the given ID."""

    name = 'zato.service.get-by-id'

    class SimpleIO:
        input_required = ('id',)

    async def handle(self) -> None:
        self.response.payload = self.to_row(self.by_id(self.request.input.id))


class Edit(ServiceAdminService):
    """Edit the settings of a service: whether it is active, the threshold of slow calls, the limit of concurrent calls
    ('' selects the limit in server.toml), and the roles that callers need."""

    name = 'zato.service.edit'

    changeable = ('is_active', 'slow_threshold', 'max_in_flight', 'roles')

    class SimpleIO:
        input_required = ('id',)
        input_optional = ('is_active', 'slow_threshold', 'max_in_flight', AsIs('roles'), Int('revision'))
        default_value = None

    async def handle(self) -> None:
        request_input, types = self.request.input, self.server.types
        stored = self.by_id(request_input.id)
        if stored.value.is_internal and request_input.is_active is False:
            raise Conflict(self.cid, f'{stored.name} is one of the broker\'s own: it cannot be switched off')
        changed_fields = {name: request_input[name] for name in self.changeable if request_input[name] is not None}
        sent = self.received_fields
        # The declared input treats '' and null as absent.
        if isinstance(sent, Mapping) and sent.get('max_in_flight', 0) in ('', None):
            changed_fields['max_in_flight'] = ''
        references = SnapshotReferences(self.server.config.snapshot, types)
        changes, errors = parse_changes(types[KEY], stored.value, changed_fields, references, datetime.now(UTC))
        if errors:
            raise BadInput(errors)
        if 'roles' in changes:
            self.require_roles((*stored.value.roles, *changes['roles']))
        if changes:
            step = Operation(
                action='edit', type=KEY, name=stored.name, id=stored.id, fields=changes, revision=request_input.revision
            )
            await self.server.config.change([step], self.actor)
        self.response.payload = self.to_row(self.by_id(stored.id))


class Delete(ServiceAdminService):
    """Delete a service that no deployed file defines."""

    name = 'zato.service.delete'

    class SimpleIO:
        input_required = ('id',)
        input_optional = (Int('revision'),)
        default_value = None

    async def handle(self) -> None:
        stored = self.by_id(self.request.input.id)
        if stored.value.is_internal:
            raise Conflict(self.cid, f'{stored.name} is one of the broker\'s own: it cannot be deleted')
        if stored.value.file:
            raise Conflict(
                self.cid, f'{stored.name} is in {stored.value.file}: deploy that file without it, then delete it'
            )
        revision = self.request.input.revision
        step = Operation(action='delete', type=KEY, name=stored.name, id=stored.id, revision=revision)
        await self.server.config.change([step], self.actor)
        self.response.payload = {}


class GetChannelList(ServiceAdminService):
    """List the channels that invoke a service. `channel_type` is a type such as plain_http, soap, amqp, jms-wmq or zmq,
    or empty for all types."""

    name = 'zato.service.get-channel-list'

    class SimpleIO:
        input_required = ('id',)
        input_optional = (Text('channel_type'),)

    async def handle(self) -> None:
        name = self.by_id(self.request.input.id).name
        channel_type = self.request.input.channel_type
        snapshot, types = self.server.config.snapshot, self.server.types
        references = SnapshotReferences(snapshot, types)
        self.response.payload = align_columns(
            [
                {**object_to_row(object_type, stored, references), 'object_type': object_type.key}
                for object_type in types
                for field in _service_fields(object_type, channel_type)
                for stored in snapshot.objects_of_types(object_type.key)
                if getattr(stored.value, field) == name
            ]
        )


def _service_fields(object_type: ObjectType, channel_type: str) -> list[str]:
    """Return the fields of an object type that refer to a service; none if it is not of that channel type."""
    api = object_type.zato
    if api is None or (
        channel_type
        and channel_type != api.fixed_fields.get('transport')
        and not api.prefix.endswith(f'.{channel_type}')
    ):
        return []
    return [info.name for info in reference_fields(object_type) if info.ref == KEY]


SERVICES = (GetList, GetByName, GetById, Edit, Delete, GetChannelList)
