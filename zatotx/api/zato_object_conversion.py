"""Converts configuration objects between the fields of Zato's API and the fields of object types. Pure functions.

Nothing here depends on a particular object type; everything is derived from the type's Struct and its ZatoApi.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from zatotx.rules.enmasse.reference_resolution import is_obvious_reference
from zatotx.rules.security.roles import ADMIN, NO_ROLES
from zatotx.rules.security.roles import effective_roles as held
from zatotx.schema.meta import FieldInfo, ObjectType, fields_of, reference_fields, secret_fields
from zatotx.schema.references import SnapshotReferences, find_dangling_references
from zatotx.schema.secrets import MASK
from zatotx.schema.snapshot import StoredObject
from zatotx.schema.validation import (
    FieldError,
    normalize,
    parse_request_fields,
    validate,
    validate_change,
    validate_edit,
    zato_field_name,
)

SECURITY = 'security'  # section of objects whose references include their type
ID_SUFFIX = '_id'
UNRESOLVED = 'it is a reference, not a secret: whoever asks must put what it refers to in its place'


def parse_new_object(
    object_type: ObjectType, request: Mapping[str, Any], references: SnapshotReferences, now: datetime
) -> tuple[dict[str, Any], list[FieldError]]:
    """Return all fields of a new object, or every error in the request. Requests and errors use Zato's field names."""
    document = parse_request_fields(object_type, request, references)
    value, errors = validate(object_type, document)
    errors += validate_change(object_type, value, None, now)
    errors = [*errors, *unresolved_secrets(object_type, document), *_dangling(object_type, document, references)]
    return ({} if errors else msgspec.structs.asdict(value)), _with_zato_names(object_type, errors)


def parse_changes(
    object_type: ObjectType, current: Any, request: Mapping[str, Any], references: SnapshotReferences, now: datetime
) -> tuple[dict[str, Any], list[FieldError]]:
    """Return the fields that an edit changes, or every error in the request. If a secret is empty or masked in the
    request, it is not changed."""
    document = parse_request_fields(object_type, request, references)
    for name in secret_fields(object_type):
        if document.get(name) in ('', None, MASK):
            document.pop(name, None)
    document = dict(normalize(object_type, document))
    value, errors = validate_edit(object_type, current, document)
    errors += validate_change(object_type, value, current, now)
    errors = [*errors, *unresolved_secrets(object_type, document), *_dangling(object_type, document, references)]
    if errors:
        return {}, _with_zato_names(object_type, errors)
    return {name: getattr(value, name) for name in document if getattr(value, name) != getattr(current, name)}, []


def object_to_row(object_type: ObjectType, stored: StoredObject, references: SnapshotReferences) -> dict[str, Any]:
    """Convert an object to a row of Zato's get-list. The row contains no secrets, the IDs and names of references, and
    '' for unset fields."""
    row: dict[str, Any] = {'id': stored.id}
    for info in fields_of(object_type):
        if info.secret:
            continue
        value = getattr(stored.value, info.name)
        if info.ref and info.kind != 'list':
            row.update(_reference(object_type, info, value, references))
        else:
            row[zato_field_name(object_type, info.name)] = '' if value is None else msgspec.to_builtins(value)
    api = object_type.zato
    if api is not None:
        row.update(api.fixed_fields)
        row.update(dict.fromkeys((name for name in api.extra_response_fields if name not in row), ''))
    row['revision'] = stored.revision  # an edit that returns it is rejected if the object has changed since
    return row


def granted_roles(object_type: ObjectType, fields: Mapping[str, Any]) -> frozenset[str]:
    """Return the roles that a security definition grants. For objects of other types, the result is empty."""
    if object_type.section != SECURITY or 'roles' not in fields:
        return NO_ROLES
    claim_roles = (ADMIN,) if fields.get('roles_claim') else ()  # the issuer of its tokens may grant any role
    return held(object_type.key, fields['name'], (*fields['roles'], *claim_roles))


def align_columns(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of several object types with the same columns in every row, sorted by name."""
    columns = dict.fromkeys(column for row in rows for column in row)
    return sorted(({**dict.fromkeys(columns, ''), **row} for row in rows), key=lambda row: str(row['name']))


def zato_security_type(object_type: ObjectType) -> str:
    """Return Zato's name for the type of a security definition."""
    return (object_type.zato.sec_type if object_type.zato is not None else '') or object_type.tag


def _reference(
    object_type: ObjectType, info: FieldInfo, name: str | None, references: SnapshotReferences
) -> dict[str, Any]:
    """Return `security_id`, `security_name` and `sec_type`, or `service_id`, `service_name` and `service`."""
    zato_field = zato_field_name(object_type, info.name)
    base = zato_field.removesuffix(ID_SUFFIX)
    object_id = None if name is None else references.id_of(info.ref, name)
    columns: dict[str, Any] = {
        f'{base}{ID_SUFFIX}': '' if object_id is None else object_id,
        f'{base}_name': '' if name is None else name,
    }
    if zato_field == base:
        columns[base] = '' if name is None else name
    if info.ref == SECURITY:
        security_type = None if name is None else references.type_of(info.ref, name)
        columns['sec_type'] = '' if security_type is None else zato_security_type(security_type)
    return columns


def _dangling(
    object_type: ObjectType, document: Mapping[str, Any], references: SnapshotReferences
) -> list[FieldError]:
    """Return a mistake for every reference to an object that does not exist."""
    return find_dangling_references(references, reference_fields(object_type), document)


def unresolved_secrets(object_type: ObjectType, document: Mapping[str, Any]) -> list[FieldError]:
    """Return a validation error for every secret that is an unresolved reference. If such a text were stored, the text
    itself would be the password."""
    secrets = ((name, document.get(name)) for name in secret_fields(object_type))
    return [(name, UNRESOLVED) for name, secret in secrets if isinstance(secret, str) and is_obvious_reference(secret)]


def _with_zato_names(object_type: ObjectType, errors: Iterable[FieldError]) -> list[FieldError]:
    """Return the mistakes under the field names of the request."""
    field_names = {info.name for info in fields_of(object_type)}
    renamed = []
    for path, text in errors:
        field_name = next(
            (name for name in field_names if path == name or path.startswith((f'{name}.', f'{name}['))), ''
        )
        renamed.append(
            (
                f'$.{zato_field_name(object_type, field_name)}{path[len(field_name) :]}' if field_name else f'$.{path}',
                text,
            )
        )
    return renamed
