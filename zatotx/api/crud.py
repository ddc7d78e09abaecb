"""The services zato.<prefix>.create, edit, delete, get-list and others, derived for every object type with a ZatoApi.

Several types may share a prefix (channels and outgoing connections are both `http-soap`); the fixed fields of their
ZatoApi select among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, ClassVar

import attrs
import msgspec
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from zatotx.api.admin_service import AdminService, bad_field_error
from zatotx.api.object_search import find_objects
from zatotx.api.zato_object_conversion import (
    SECURITY,
    align_columns,
    granted_roles,
    object_to_row,
    parse_changes,
    parse_new_object,
    unresolved_secrets,
    zato_security_type,
)
from zatotx.model.errors import BadInput, Conflict, NotFound
from zatotx.rules.paging import filter_sort_and_page, items_of_page, parse_page_request
from zatotx.schema.meta import ObjectType, secret_fields
from zatotx.schema.references import SnapshotReferences
from zatotx.schema.snapshot import Operation, StoredObject
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.schema.validation import FieldError, parse_int, validate_edit, zato_field_name
from zatotx.service.io.declaration_reader import read_io_declaration
from zatotx.service.metadata import describe_service
from zatotx.service.service_entry import ServiceEntry

PASSWORD = 'password'
MAX_ROWS_ON_REACTOR = 300  # objects from which on a list is made in a thread: each row takes 25 microseconds
MAX_OBJECTS_ON_REACTOR = 2000  # objects of the configuration from which on they are looked through in a thread


class ObjectService(AdminService):
    """Base class of the derived services. Each service handles the objects of one prefix."""

    zato_dont_import = True
    prefix: ClassVar[str] = ''

    @property
    def requested_object(self) -> Mapping[str, Any]:
        """The request: body, form, query and path merged. Raises BadInput if the body is not an object."""
        payload = self.received_fields
        if payload not in (None, '', b'') and not isinstance(payload, Mapping):
            raise BadInput([('$', 'expected an object')])
        merged: Mapping[str, Any] = self.request.input
        return merged

    @property
    def references(self) -> SnapshotReferences:
        """The names and ids of all configured objects."""
        return SnapshotReferences(self.server.config.snapshot, self.server.types)

    @property
    def object_types(self) -> list[ObjectType]:
        """All types with the prefix."""
        return _of_prefix(self.server.types, self.prefix)

    def selected_type(self) -> ObjectType:
        """Return the type selected by the request's fixed fields. Raises BadInput unless there is exactly one."""
        matching = self.matching_types()
        if len(matching) == 1:
            return matching[0]
        fixed: dict[str, set[str]] = {}
        for object_type in self.object_types:
            assert object_type.zato is not None
            for name, value in object_type.zato.fixed_fields.items():
                fixed.setdefault(name, set()).add(value)
        raise BadInput([
            (f'$.{name}', f'must be one of: {", ".join(sorted(values))}')
            for name, values in fixed.items()
            if self.requested_object.get(name) not in values or len(matching) > 1
        ])  # fmt: skip

    def matching_types(self) -> list[ObjectType]:
        """Return the types that match the fixed fields of the request."""
        request = self.requested_object
        return [
            object_type
            for object_type in self.object_types
            if object_type.zato is not None
            and all(request.get(name, value) in ('', value) for name, value in object_type.zato.fixed_fields.items())
        ]

    def find_object(self) -> StoredObject:
        """Return the object with the request's id, otherwise with its name. Raises BadInput, NotFound."""
        request, snapshot = self.requested_object, self.server.config.snapshot
        object_id = request.get('id', '')
        if object_id in ('', None):
            name = request.get('name')
            if not isinstance(name, str) or not name:
                raise bad_field_error('id', 'missing')
            return self._named(name)
        number = _integer('id', object_id)
        stored: StoredObject | None = snapshot.get(number)
        if stored is None or stored.type not in {object_type.key for object_type in self.object_types}:
            raise NotFound(self.cid, f'No {self.title} has the id {number}')
        return stored

    def _named(self, name: str) -> StoredObject:
        """Return the object of that name. Raises NotFound."""
        snapshot = self.server.config.snapshot
        matches: list[StoredObject] = [
            stored
            for object_type in self.matching_types()
            if (stored := snapshot.find(object_type.key, name)) is not None
        ]
        if not matches:
            raise NotFound(self.cid, f'No {self.title} is called {name!r}')
        return matches[0]

    @property
    def title(self) -> str:
        """The name of the objects in messages."""
        return ' or '.join(object_type.title or object_type.key for object_type in self.object_types)

    @property
    def expected_revision(self) -> int | None:
        """The request's `revision`, the one of the object that the editor read. Raises BadInput."""
        revision = self.requested_object.get('revision', '')
        return None if revision in ('', None) else _integer('revision', revision)

    async def write(self, action: str, stored: StoredObject, fields: Mapping[str, Any]) -> StoredObject:
        """Change an object; when this returns, the change is live on this node and announced to the others.

        Raises Conflict if the object has changed since the revision in the request.
        """
        name = str(fields.get('name', stored.name))
        object_type = self.server.types[stored.type]
        before = msgspec.structs.asdict(stored.value)
        self.require_roles(granted_roles(object_type, before) | granted_roles(object_type, {**before, **fields}))
        step = Operation(
            action=action, type=stored.type, name=name, id=stored.id, fields=fields, revision=self.expected_revision
        )
        await self.server.config.change([step], self.actor)
        changed: StoredObject | None = self.server.config.snapshot.get(stored.id)
        return changed or stored

    def respond(self, stored: StoredObject) -> None:
        """Respond with id and name of an object, and with the fields that its type adds."""
        api = self.server.types[stored.type].zato
        row = {} if api is None or not api.response_fields else self.row(stored)
        added = {name: row[name] for name in api.response_fields} if row and api is not None else {}
        self.response.payload = {'id': stored.id, 'name': stored.name, **added}

    def row(self, stored: StoredObject) -> dict[str, Any]:
        """Return an object as a row of get-list."""
        return object_to_row(self.server.types[stored.type], stored, self.references)


class Create(ObjectService):
    """Create an object. The response has its ID and name."""

    zato_dont_import = True

    async def handle(self) -> None:
        object_type = self.selected_type()
        fields, errors = parse_new_object(object_type, self.requested_object, self.references, datetime.now(UTC))
        _raise_errors(errors)
        name = fields['name']
        self.require_roles(granted_roles(object_type, fields))
        step = Operation(action='create', type=object_type.key, name=name, fields=fields)
        await self.server.config.change([step], self.actor)
        stored = self.server.config.snapshot.find(object_type.key, name)
        if stored is None:
            raise NotFound(self.cid, f'{name!r} was made, and deleted again at once by somebody else')
        self.respond(stored)


class Edit(ObjectService):
    """Edit an object. Fields that are not given in the request keep their values."""

    zato_dont_import = True

    async def handle(self) -> None:
        if self.requested_object.get('id', '') in ('', None):
            raise bad_field_error('id', 'missing')
        stored = self.find_object()
        object_type = self.server.types[stored.type]
        fields, errors = parse_changes(
            object_type, stored.value, self.requested_object, self.references, datetime.now(UTC)
        )
        _raise_errors(errors)
        self.respond(await self.write('edit', stored, fields) if fields else stored)


class Delete(ObjectService):
    """Delete an object that no other object refers to."""

    zato_dont_import = True

    async def handle(self) -> None:
        stored = self.find_object()
        self._refuse_own(stored)
        await self.write('delete', stored, {})
        self.response.payload = {}

    def _refuse_own(self, stored: StoredObject) -> None:
        """Raise Conflict if the type protects this object, or the caller authenticated with it."""
        object_type = self.server.types[stored.type]
        protection = object_type.zato.deletion_error if object_type.zato is not None else None
        reason = '' if protection is None else protection(stored.value, self.requested_object)
        if not reason and (self.principal.kind, self.principal.name) == (stored.type, stored.name):
            reason = f'{object_type.title} {stored.name!r} may not delete itself'
        if reason:
            raise Conflict(self.cid, reason)


class GetList(ObjectService):
    """List all objects, sorted by name, or the objects that match `query`, sorted by `sort`. With `paginate`, return
    one page."""

    zato_dont_import = True

    async def handle(self) -> None:
        types = {object_type.key: object_type for object_type in self.matching_types()}
        snapshot, references, request = self.server.config.snapshot, self.references, dict(self.requested_object)

        def select() -> Any:
            return _select_objects(types, snapshot.objects_of_types(*types), references, request)

        if len(snapshot) > MAX_OBJECTS_ON_REACTOR:
            self.response.payload = await self.server.run_in_thread(select)
            return
        stored = snapshot.objects_of_types(*types)
        is_large = len(stored) > MAX_ROWS_ON_REACTOR
        self.response.payload = await self.server.run_in_thread(select) if is_large else select()


def _select_objects(
    types: Mapping[str, ObjectType], stored: Sequence[StoredObject], references: SnapshotReferences,
    request: Mapping[str, Any],
) -> Any:  # fmt: skip
    """Return the rows that a request selects. Only the objects of the page become rows if their names suffice to find
    them."""
    page, sort = parse_page_request(request), str(request.get('sort') or 'name')
    if page is not None and (query := str(request.get('query') or '')):
        stored, request = list(find_objects(types, stored, query)), {**request, 'query': ''}
    if page is None or len(types) > 1 or sort not in ('name', '-name'):
        return filter_sort_and_page(
            align_columns([object_to_row(types[one.type], one, references) for one in stored]), request
        )
    ordered = sorted(stored, key=lambda one: one.name.casefold(), reverse=sort == '-name')
    selected, meta = items_of_page(ordered, page)
    return {'data': [object_to_row(types[one.type], one, references) for one in selected], '_meta': meta}


class GetObject(ObjectService):
    """Return one object, selected by ID or name."""

    zato_dont_import = True

    async def handle(self) -> None:
        stored = self.find_object()
        self.response.payload = object_to_row(self.server.types[stored.type], stored, self.references)


class ChangePassword(ObjectService):
    """Set a new password of an object. The request contains the password twice."""

    zato_dont_import = True

    async def handle(self) -> None:
        stored = self.find_object()
        first, second = self.requested_object.get('password1'), self.requested_object.get('password2')
        input_errors = [
            (f'$.password{number}', 'missing')
            for number, password in ((1, first), (2, second))
            if password in ('', None)
        ]
        if not input_errors and not isinstance(first, str):
            input_errors = [('$.password1', f'expected str, got {type(first).__name__}')]
        if not input_errors and first != second:
            input_errors = [('$.password2', 'is not the same as password1')]
        _raise_errors(input_errors)
        object_type = self.server.types[stored.type]
        field = password_field(object_type)
        _, errors = validate_edit(object_type, stored.value, {field: first})
        errors = [*errors, *unresolved_secrets(object_type, {field: first})]
        _raise_errors([(f'$.{"password1" if path == field else path}', message) for path, message in errors])
        self.respond(await self.write('edit', stored, {field: first}))


class Ping(ObjectService):
    """Ping the peer of a connection. The response describes the request and the peer's reply, and contains the response
    time in milliseconds."""

    zato_dont_import = True

    async def handle(self) -> None:
        stored = self.find_object()
        began = perf_counter()
        info = await self.server.outgoing.ping(stored.type, stored.name)
        response_time = round((perf_counter() - began) * 1000, 3)
        self.response.payload = {'id': stored.id, 'name': stored.name, 'info': info, 'response_time': response_time}


class AutoPing(ObjectService):
    """Ping the peers of all active connections. A job invokes this service periodically. The response contains the
    error of each failed ping, and each error is logged as a warning."""

    zato_dont_import = True

    async def handle(self) -> None:
        keys = [object_type.key for object_type in self.object_types]
        stored = [one for one in self.server.config.snapshot.objects_of_types(*keys) if one.value.is_active]
        errors = await gatherResults([Deferred.fromCoroutine(self._error_of(one)) for one in stored])
        failed = {one.name: error for one, error in zip(stored, errors, strict=True) if error}
        for name, error in failed.items():
            self.logger.warning('%s %r could not be pinged: %s', self.title, name, error)
        self.response.payload = {'pinged': len(stored), 'failed': failed}

    async def _error_of(self, stored: StoredObject) -> str:
        try:
            await self.server.outgoing.ping(stored.type, stored.name)
        except CancelledError:
            raise
        except Exception as error:
            return str(error) or type(error).__name__
        return ''


class GetSecurityList(AdminService):
    """List all security definitions of all types."""

    name = 'zato.security.get-list'

    async def handle(self) -> None:
        snapshot, types = self.server.config.snapshot, self.server.types
        security_types = {object_type.key: object_type for object_type in types.in_namespace(SECURITY)}
        references = SnapshotReferences(snapshot, types)
        self.response.payload = align_columns(
            [
                {
                    **object_to_row(security_types[row.type], row, references),
                    'sec_type': zato_security_type(security_types[row.type]),
                }
                for row in snapshot.objects_of_types(*security_types)
            ]
        )


_ACTIONS: Mapping[str, type[ObjectService]] = {
    'create': Create,
    'edit': Edit,
    'delete': Delete,
    'get-list': GetList,
    'get-by-id': GetObject,
    'get-by-name': GetObject,
    'change-password': ChangePassword,
    'ping': Ping,
    'auto-ping': AutoPing,
}
_ALWAYS = ('get-by-id', 'get-by-name')


def derive_services(types: ObjectTypeRegistry) -> Iterator[ServiceEntry]:
    """Yield a service entry for each action on each prefix of the object types."""
    prefixes: dict[str, dict[str, None]] = {}
    # The derived classes have the methods of their base class; the elements of their responses bear their names.
    metadata = {action: describe_service(cls) for action, cls in _ACTIONS.items()}
    for object_type in types:
        if object_type.zato is not None:
            actions = prefixes.setdefault(object_type.zato.prefix, {})
            actions.update(dict.fromkeys((*object_type.zato.actions, *_ALWAYS)))
            if password_field(object_type):
                actions['change-password'] = None
    for prefix, actions in prefixes.items():
        for action in actions:
            if action in _ACTIONS:
                name = f'zato.{prefix}.{action}'
                members = {'name': name, 'prefix': prefix, '__module__': __name__, '__doc__': _ACTIONS[action].__doc__}
                cls = type(_class_name(name), (_ACTIONS[action],), members)
                own_metadata = attrs.evolve(metadata[action], io=read_io_declaration(cls))
                yield ServiceEntry(name=name, cls=cls, metadata=own_metadata, is_internal=True)


def password_field(object_type: ObjectType) -> str:
    """Return the name of the secret field that is the password in Zato's API, or '' if the type has none."""
    return next((name for name in secret_fields(object_type) if zato_field_name(object_type, name) == PASSWORD), '')


def _class_name(name: str) -> str:
    return ''.join(part.capitalize() for part in name.replace('.', '-').split('-'))


def _of_prefix(types: ObjectTypeRegistry, prefix: str) -> list[ObjectType]:
    return [object_type for object_type in types if object_type.zato is not None and object_type.zato.prefix == prefix]


def _integer(field: str, value: object) -> int:
    """Return an integer field of the request. Raises BadInput."""
    number = parse_int(value) if isinstance(value, str) else value
    if type(number) is not int:
        raise bad_field_error(field, f'expected int, got {type(value).__name__}')
    return number


def _raise_errors(errors: list[FieldError]) -> None:
    """Raise BadInput if there are mistakes."""
    if errors:
        raise BadInput(errors)


SERVICES = (GetSecurityList,)
