"""zato.<prefix>.create, edit, delete, get-list … for every object type that has a Zato face: derived, not written.

Several types may share a prefix (channels and outgoing connections are both `http-soap`); fields of the request that
ZatoApi calls fixed choose among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import msgspec

from zatotx.api.base import AdminService, bad_request
from zatotx.api.serialization import (
    SECURITY,
    merged_fields,
    read_changes,
    read_created,
    roles_of,
    sec_type,
    to_row,
    unread,
)
from zatotx.model.errors import BadInput, Conflict, NotFound
from zatotx.schema.fields import secrets_of
from zatotx.schema.lenient_conversion import to_int, zato_name
from zatotx.schema.meta import ObjectType
from zatotx.schema.references import SnapshotReferences
from zatotx.schema.snapshot import Operation, Stored
from zatotx.schema.type_registry import ObjectTypes
from zatotx.schema.validation import Mistake, validate_edit
from zatotx.service.entry import ServiceEntry

PASSWORD = 'password'


class ObjectService(AdminService):
    """Base of the services on objects of one prefix."""

    zato_dont_import = True
    prefix: ClassVar[str] = ''

    @property
    def asked(self) -> Mapping[str, Any]:
        """The request: body, form, query and path merged. Raises BadInput where it is no object."""
        payload = self.sent
        if payload not in (None, '', b'') and not isinstance(payload, Mapping):
            raise BadInput([('$', 'expected an object')])
        merged: Mapping[str, Any] = self.request.input
        return merged

    @property
    def references(self) -> SnapshotReferences:
        return SnapshotReferences(self.server.config.snapshot, self.server.types)

    @property
    def own_types(self) -> list[ObjectType]:
        """All types of the prefix."""
        return _of_prefix(self.server.types, self.prefix)

    def chosen(self) -> ObjectType:
        """The one type that the request's fixed fields speak of. Raises BadInput."""
        fitting = self.fitting()
        if len(fitting) == 1:
            return fitting[0]
        fixed: dict[str, set[str]] = {}
        for object_type in self.own_types:
            assert object_type.zato is not None
            for name, value in object_type.zato.fixed.items():
                fixed.setdefault(name, set()).add(value)
        raise BadInput([
            (f'$.{name}', f'must be one of: {", ".join(sorted(values))}')
            for name, values in fixed.items()
            if self.asked.get(name) not in values or len(fitting) > 1
        ])  # fmt: skip

    def fitting(self) -> list[ObjectType]:
        """The types that no fixed field of the request speaks against."""
        asked = self.asked
        return [
            object_type
            for object_type in self.own_types
            if object_type.zato is not None
            and all(asked.get(name, value) in ('', value) for name, value in object_type.zato.fixed.items())
        ]

    def found(self) -> Stored:
        """The object of the request's id, or else of its name. Raises BadInput, NotFound."""
        asked, snapshot = self.asked, self.server.config.snapshot
        given = asked.get('id', '')
        if given in ('', None):
            name = asked.get('name')
            if not isinstance(name, str) or not name:
                raise bad_request('id', 'missing')
            return self._named(name)
        number = _whole('id', given)
        stored: Stored | None = snapshot.get(number)
        if stored is None or stored.type not in {object_type.key for object_type in self.own_types}:
            raise NotFound(self.cid, f'No {self.title} has the id {number}')
        return stored

    def _named(self, name: str) -> Stored:
        snapshot = self.server.config.snapshot
        found: list[Stored] = [s for t in self.fitting() if (s := snapshot.named(t.key, name)) is not None]
        if not found:
            raise NotFound(self.cid, f'No {self.title} is called {name!r}')
        return found[0]

    @property
    def title(self) -> str:
        """What the objects are called in sentences."""
        return ' or '.join(object_type.title or object_type.key for object_type in self.own_types)

    @property
    def seen_revision(self) -> int | None:
        """The request's `revision`: that of the object when its editor read it. Raises BadInput."""
        given = self.asked.get('revision', '')
        return None if given in ('', None) else _whole('revision', given)

    async def write(self, action: str, stored: Stored, fields: Mapping[str, Any]) -> Stored:
        """Change an object; live here and announced when this returns. Raises Conflict where the request says which
        revision of the object its editor saw, and it is another one now."""
        name = str(fields.get('name', stored.name))
        object_type = self.server.types[stored.type]
        before = msgspec.structs.asdict(stored.value)
        self.refuse_roles(roles_of(object_type, before) | roles_of(object_type, {**before, **fields}))
        step = Operation(
            action=action, type=stored.type, name=name, id=stored.id, fields=fields, revision=self.seen_revision
        )
        await self.server.config.change([step], self.actor)
        changed: Stored | None = self.server.config.snapshot.get(stored.id)
        return changed or stored

    def answer(self, stored: Stored) -> None:
        self.response.payload = {'id': stored.id, 'name': stored.name}


class Create(ObjectService):
    """Make an object; answers its id and name."""

    zato_dont_import = True

    async def handle(self) -> None:
        object_type = self.chosen()
        fields, mistakes = read_created(object_type, self.asked, self.references)
        _refuse(mistakes)
        name = fields['name']
        self.refuse_roles(roles_of(object_type, fields))
        step = Operation(action='create', type=object_type.key, name=name, fields=fields)
        await self.server.config.change([step], self.actor)
        stored = self.server.config.snapshot.named(object_type.key, name)
        if stored is None:
            raise NotFound(self.cid, f'{name!r} was made, and deleted again at once by somebody else')
        self.answer(stored)


class Edit(ObjectService):
    """Change an object; fields that are not given stay as they are."""

    zato_dont_import = True

    async def handle(self) -> None:
        if self.asked.get('id', '') in ('', None):
            raise bad_request('id', 'missing')
        stored = self.found()
        object_type = self.server.types[stored.type]
        fields, mistakes = read_changes(object_type, stored.value, self.asked, self.references)
        _refuse(mistakes)
        self.answer(await self.write('edit', stored, fields) if fields else stored)


class Delete(ObjectService):
    """Remove an object that nothing refers to."""

    zato_dont_import = True

    async def handle(self) -> None:
        stored = self.found()
        self._refuse_own(stored)
        await self.write('delete', stored, {})
        self.response.payload = {}

    def _refuse_own(self, stored: Stored) -> None:
        """Raises Conflict where the type says that this one stays, or the caller logged in with it."""
        object_type = self.server.types[stored.type]
        stays = object_type.zato.stays if object_type.zato is not None else None
        why = '' if stays is None else stays(stored.value, self.asked)
        if not why and (self.principal.kind, self.principal.name) == (stored.type, stored.name):
            why = f'{object_type.title} {stored.name!r} may not delete itself'
        if why:
            raise Conflict(self.cid, why)


class GetList(ObjectService):
    """All objects, by name."""

    zato_dont_import = True

    async def handle(self) -> None:
        types = {object_type.key: object_type for object_type in self.fitting()}
        stored = self.server.config.snapshot.of(*types)
        self.response.payload = merged_fields([to_row(types[one.type], one, self.references) for one in stored])


class GetOne(ObjectService):
    """One object, by its id or name."""

    zato_dont_import = True

    async def handle(self) -> None:
        stored = self.found()
        self.response.payload = to_row(self.server.types[stored.type], stored, self.references)


class ChangePassword(ObjectService):
    """Set a new password, given twice."""

    zato_dont_import = True

    async def handle(self) -> None:
        stored = self.found()
        first, second = self.asked.get('password1'), self.asked.get('password2')
        wrong = [(f'$.password{n}', 'missing') for n, given in ((1, first), (2, second)) if given in ('', None)]
        if not wrong and not isinstance(first, str):
            wrong = [('$.password1', f'expected str, got {type(first).__name__}')]
        if not wrong and first != second:
            wrong = [('$.password2', 'is not the same as password1')]
        _refuse(wrong)
        object_type = self.server.types[stored.type]
        field = password_field(object_type)
        _, mistakes = validate_edit(object_type, stored.value, {field: first})
        mistakes = [*mistakes, *unread(object_type, {field: first})]
        _refuse([(f'$.{"password1" if path == field else path}', what) for path, what in mistakes])
        self.answer(await self.write('edit', stored, {field: first}))


class Ping(ObjectService):
    """Ask the peer of a connection whether it is there; answers what was asked and answered."""

    zato_dont_import = True

    async def handle(self) -> None:
        stored = self.found()
        info = await self.server.outgoing.ping(stored.type, stored.name)
        self.response.payload = {'id': stored.id, 'name': stored.name, 'info': info}


class GetSecurityList(AdminService):
    """All security definitions of any type."""

    name = 'zato.security.get-list'

    async def handle(self) -> None:
        snapshot, types = self.server.config.snapshot, self.server.types
        known = {object_type.key: object_type for object_type in types.in_space(SECURITY)}
        references = SnapshotReferences(snapshot, types)
        self.response.payload = merged_fields(
            [{**to_row(known[one.type], one, references), 'sec_type': sec_type(known[one.type])}
             for one in snapshot.of(*known)]
        )


_ACTIONS: Mapping[str, type[ObjectService]] = {
    'create': Create,
    'edit': Edit,
    'delete': Delete,
    'get-list': GetList,
    'get-by-id': GetOne,
    'get-by-name': GetOne,
    'change-password': ChangePassword,
    'ping': Ping,
}
_ALWAYS = ('get-by-id', 'get-by-name')


def derive_services(types: ObjectTypes) -> Iterator[ServiceEntry]:
    """An entry for each action of each prefix that the types have."""
    prefixes: dict[str, dict[str, None]] = {}
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
                yield ServiceEntry.of(type(_class_name(name), (_ACTIONS[action],), members), is_internal=True)


def password_field(object_type: ObjectType) -> str:
    """The secret that Zato calls a password, whatever its name here; '' where there is none."""
    return next((name for name in secrets_of(object_type) if zato_name(object_type, name) == PASSWORD), '')


def _class_name(name: str) -> str:
    return ''.join(part.capitalize() for part in name.replace('.', '-').split('-'))


def _of_prefix(types: ObjectTypes, prefix: str) -> list[ObjectType]:
    return [t for t in types if t.zato is not None and t.zato.prefix == prefix]


def _whole(field: str, given: object) -> int:
    number = to_int(given) if isinstance(given, str) else given
    if type(number) is not int:
        raise bad_request(field, f'expected int, got {type(given).__name__}')
    return number


def _refuse(mistakes: list[Mistake]) -> None:
    if mistakes:
        raise BadInput(mistakes)


SERVICES = (GetSecurityList,)
