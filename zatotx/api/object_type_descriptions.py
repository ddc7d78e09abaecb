"""The services zato.schema.*, which return descriptions of all object types of a node. The web admin creates its lists
and forms from these descriptions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from zatotx.api.admin_service import AdminService, bad_field_error
from zatotx.api.crud import password_field
from zatotx.schema.display_labels import field_label, list_heading_of, menu_area_of
from zatotx.schema.meta import FieldInfo, ObjectType, fields_of, fields_of_struct
from zatotx.schema.object_type_docs import describe_default
from zatotx.schema.snapshot import StoredObject
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.schema.validation import zato_field_name
from zatotx.service.io.elements import Int, Text

MAX_CHOICES = 500  # names in one response
DEFAULT_CHOICES = 100


def describe_type(object_type: ObjectType, types: ObjectTypeRegistry) -> dict[str, Any]:
    """Return the description of an object type as JSON data."""
    api = object_type.zato
    assert api is not None
    actions = [*api.actions, *(('change-password',) if password_field(object_type) else ())]
    return {
        'key': object_type.key,
        'title': object_type.title or object_type.key,
        'heading': list_heading_of(object_type),
        'area': menu_area_of(object_type),
        'section': object_type.section,
        'prefix': api.prefix,
        'actions': list(dict.fromkeys(actions)),
        'fixed_fields': dict(api.fixed_fields),
        'builtin_names': sorted(object_type.builtin_names),
        'fields': [
            _describe_field(info, types, zato_field_name(object_type, info.name)) for info in fields_of(object_type)
        ],
    }


def _describe_field(info: FieldInfo, types: ObjectTypeRegistry, zato: str) -> dict[str, Any]:
    """Return a field as JSON data. `zato`: its name in rows of get-list."""
    default = None if info.required or info.kind == 'mapping' else msgspec.to_builtins(info.default)
    return {
        'name': info.name,
        'zato_name': zato,
        'label': field_label(info.name),
        'kind': info.kind,
        'is_optional': info.optional,
        'is_required': info.required,
        'default': default,
        'default_text': describe_default(info),
        'description': info.description,
        'is_secret': bool(info.secret),
        'reference': info.ref,
        'reference_types': list(types.keys_for(info)) if info.ref else [],
        'choices': list(info.choices),
        'bounds': {name: bound for name, bound in info.bounds.items() if name != 'pattern'},
        'fields': list(_describe_nested(info, types)),
    }


def _describe_nested(info: FieldInfo, types: ObjectTypeRegistry) -> Iterator[dict[str, Any]]:
    for nested in fields_of_struct(info.struct) if info.struct is not None else ():
        yield _describe_field(nested, types, nested.name)


class GetList(AdminService):
    """List all object types that have services, with their fields."""

    name = 'zato.schema.get-list'

    async def handle(self) -> None:
        types: ObjectTypeRegistry = self.server.types
        self.response.payload = [describe_type(one, types) for one in types if one.zato is not None]


class GetCounts(AdminService):
    """Count the objects of each type. Built-in services are not counted."""

    name = 'zato.schema.get-counts'

    async def handle(self) -> None:
        snapshot = self.server.config.snapshot
        self.response.payload = {one.key: _count(snapshot.iter_type(one.key)) for one in self.server.types}


def _count(objects: Collection[StoredObject]) -> int:
    first = next(iter(objects), None)
    if first is None or not hasattr(first.value, 'is_internal'):
        return len(objects)
    return sum(not getattr(stored.value, 'is_internal', False) for stored in objects)


class GetChoices(AdminService):
    """List the objects to which a reference field may refer, sorted by name. These are the objects of the types in
    `types` (comma-separated keys) whose names contain `query`. Built-in services are listed last."""

    name = 'zato.schema.get-choices'

    class SimpleIO:
        input_required = (Text('types'),)
        input_optional = (Text('query'), Int('limit'))

    async def handle(self) -> None:
        request_input = self.request.input
        limit = request_input.limit or DEFAULT_CHOICES
        if not 0 < limit <= MAX_CHOICES:
            raise bad_field_error('limit', f'must be 1 to {MAX_CHOICES}')
        keys = [key for key in str(request_input.types).split(',') if key in self.server.types]
        query = str(request_input.query or '').lower()
        found: Sequence[Any] = [
            stored
            for stored in self.server.config.snapshot.objects_of_types(*keys)
            if query in stored.name.lower()
        ]
        ordered = sorted(found, key=lambda stored: (getattr(stored.value, 'is_internal', False), stored.name))
        self.response.payload = [
            {'id': stored.id, 'name': stored.name, 'type': stored.type} for stored in ordered[:limit]
        ]


class GetUsage(AdminService):
    """List the objects that refer to the object with that `type` and `name`."""

    name = 'zato.schema.get-usage'

    class SimpleIO:
        input_required = (Text('type'), Text('name'))

    async def handle(self) -> None:
        request_input, types = self.request.input, self.server.types
        if request_input.type not in types:
            raise bad_field_error('type', 'is not the key of an object type')
        target = types[request_input.type]
        namespace = target.section or target.key
        self.response.payload = [
            {'id': stored.id, 'name': stored.name, 'type': stored.type, 'title': one.title or one.key}
            for one in types
            for info in fields_of(one)
            if info.ref == namespace
            for stored in self.server.config.snapshot.objects_of_types(one.key)
            if _refers(getattr(stored.value, info.name), request_input.name)
        ]


def _refers(value: Any, name: str) -> bool:
    return name in value if isinstance(value, list | tuple) else value == name


SERVICES = (GetList, GetCounts, GetChoices, GetUsage)
