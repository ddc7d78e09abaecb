"""Objects of the configuration in Zato's words: what a request says of one, and how one is listed. Pure.

Knows no object type by name; all of it follows from the type's Struct and its ZatoApi.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from zatotx.rules.enmasse.references import is_placeholder
from zatotx.rules.security.roles import ADMIN, NONE
from zatotx.rules.security.roles import roles_of as held
from zatotx.schema.fields import FieldInfo, fields_of, refs_of, secrets_of
from zatotx.schema.lenient_conversion import parse_request, zato_name
from zatotx.schema.masking import MASK
from zatotx.schema.meta import ObjectType
from zatotx.schema.references import SnapshotReferences, dangling_references
from zatotx.schema.snapshot import Stored
from zatotx.schema.validation import Mistake, validate, validate_edit

SECURITY = 'security'  # the section whose references Zato lists with their type
ID_END = '_id'
UNREAD = 'it is a reference, not a secret: whoever asks must put what it refers to in its place'


def read_created(
    object_type: ObjectType, request: Mapping[str, Any], references: SnapshotReferences
) -> tuple[dict[str, Any], list[Mistake]]:
    """All fields of a new object, or every mistake of the request by Zato's names."""
    document = parse_request(object_type, request, references)
    value, mistakes = validate(object_type, document)
    mistakes = [*mistakes, *unread(object_type, document), *_dangling(object_type, document, references)]
    return ({} if mistakes else msgspec.structs.asdict(value)), _in_zato_words(object_type, mistakes)


def read_changes(
    object_type: ObjectType, current: Any, request: Mapping[str, Any], references: SnapshotReferences
) -> tuple[dict[str, Any], list[Mistake]]:
    """The fields that an edit changes, or every mistake. A secret that is empty or masked stays as it is."""
    document = parse_request(object_type, request, references)
    for name in secrets_of(object_type):
        if document.get(name) in ('', None, MASK):
            document.pop(name, None)
    value, mistakes = validate_edit(object_type, current, document)
    mistakes = [*mistakes, *unread(object_type, document), *_dangling(object_type, document, references)]
    if mistakes:
        return {}, _in_zato_words(object_type, mistakes)
    return {name: getattr(value, name) for name in document if getattr(value, name) != getattr(current, name)}, []


def to_row(object_type: ObjectType, stored: Stored, references: SnapshotReferences) -> dict[str, Any]:
    """An object as Zato's get-list gives it: no secrets, references by id and name, '' for what is not set."""
    out: dict[str, Any] = {'id': stored.id}
    for info in fields_of(object_type):
        if info.secret:
            continue
        value = getattr(stored.value, info.name)
        if info.ref and info.kind != 'list':
            out.update(_reference(object_type, info, value, references))
        else:
            out[zato_name(object_type, info.name)] = '' if value is None else msgspec.to_builtins(value)
    api = object_type.zato
    if api is not None:
        out.update(api.fixed)
        out.update(dict.fromkeys((name for name in api.extra_out if name not in out), ''))
    out['revision'] = stored.revision  # an edit that gives it back is refused where somebody was faster
    return out


def roles_of(object_type: ObjectType, fields: Mapping[str, Any]) -> frozenset[str]:
    """The roles that an object with these fields gives to those whom it admits; none where it is no definition."""
    if object_type.section != SECURITY or 'roles' not in fields:
        return NONE
    claimed = (ADMIN,) if fields.get('roles_claim') else ()  # whoever signs its tokens gives whatever he likes
    return held(object_type.key, fields['name'], (*fields['roles'], *claimed))


def merged_fields(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of several types with the same columns each, by name."""
    columns = dict.fromkeys(column for one in rows for column in one)
    return sorted(({**dict.fromkeys(columns, ''), **one} for one in rows), key=lambda one: str(one['name']))


def sec_type(object_type: ObjectType) -> str:
    """Zato's word for the type of a security definition."""
    return (object_type.zato.sec_type if object_type.zato is not None else '') or object_type.tag


def _reference(
    object_type: ObjectType, info: FieldInfo, name: str | None, references: SnapshotReferences
) -> dict[str, Any]:
    """`security_id`, `security_name`, and `sec_type`; `service_id`, `service_name`, and `service`."""
    called = zato_name(object_type, info.name)
    base = called.removesuffix(ID_END)
    found = None if name is None else references.id_of(info.ref, name)
    out: dict[str, Any] = {
        f'{base}{ID_END}': '' if found is None else found,
        f'{base}_name': '' if name is None else name,
    }
    if called == base:
        out[base] = '' if name is None else name
    if info.ref == SECURITY:
        its_type = None if name is None else references.type_of(info.ref, name)
        out['sec_type'] = '' if its_type is None else sec_type(its_type)
    return out


def _dangling(
    object_type: ObjectType, document: Mapping[str, Any], references: SnapshotReferences
) -> list[Mistake]:
    return dangling_references(references, refs_of(object_type), document)


def unread(object_type: ObjectType, document: Mapping[str, Any]) -> list[Mistake]:
    """A mistake for every secret that is evidently a reference which nobody read: stored as it is, it would log in."""
    given = ((name, document.get(name)) for name in secrets_of(object_type))
    return [(name, UNREAD) for name, secret in given if isinstance(secret, str) and is_placeholder(secret)]


def _in_zato_words(object_type: ObjectType, mistakes: Iterable[Mistake]) -> list[Mistake]:
    """The mistakes by the names the request has."""
    ours = {info.name for info in fields_of(object_type)}
    out = []
    for path, text in mistakes:
        head = next((name for name in ours if path == name or path.startswith((f'{name}.', f'{name}['))), '')
        out.append((f'$.{zato_name(object_type, head)}{path[len(head):]}' if head else f'$.{path}', text))
    return out
