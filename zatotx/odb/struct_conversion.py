"""Converts objects between Structs, which the program uses, and the documents that the ODB stores.

In a document, references are ids, so that a rename needs no update, and secrets are encrypted or hashed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from zatotx.model.errors import BadInput, ServiceUnavailable
from zatotx.odb.secrets import Secrets
from zatotx.odb.tables import config_object
from zatotx.odb.transaction import split_into_chunks
from zatotx.schema.meta import ObjectType, iter_references, map_references, reference_fields, secret_fields
from zatotx.schema.snapshot import Operation
from zatotx.schema.type_registry import ObjectTypeRegistry

Document = dict[str, Any]


def encode_document(document: Mapping[str, Any]) -> str:
    """Encode a document as JSON."""
    return msgspec.json.encode(document).decode('utf-8')


def decode_document(text: str) -> Document:
    """Decode a document from JSON."""
    document: Document = msgspec.json.decode(text)
    return document


def protect_secrets(
    types: ObjectTypeRegistry, secrets: Secrets, operations: Sequence[Operation], report_progress: Callable[[], None]
) -> list[Operation]:
    """Return the operations with their secrets encrypted or hashed. Hashing is slow, so call the function outside of a
    transaction."""
    ready = []
    for operation in operations:
        kinds = secret_fields(types[operation.type])
        fields = {
            name: secrets.to_stored(kinds[name], value or '') if name in kinds else value
            for name, value in operation.fields.items()
        }
        ready.append(msgspec.structs.replace(operation, fields=fields))
        report_progress()
    return ready


def has_secrets(types: ObjectTypeRegistry, operations: Iterable[Operation]) -> bool:
    """Return whether `protect_secrets` would change any of the operations."""
    return any(secret_fields(types[o.type]).keys() & o.fields.keys() for o in operations)


def fields_to_struct(object_type: ObjectType, fields: Mapping[str, Any]) -> Any:
    """Convert fields to a Struct. References are given by name, and secrets are not converted. Raises BadInput if a
    field is invalid, which callers normally rule out by validation."""
    try:
        return msgspec.convert(dict(fields), object_type.struct)
    except msgspec.ValidationError as error:
        raise BadInput([(object_type.key, str(error))]) from error


def struct_to_document(object_type: ObjectType, value: Any, ids: Mapping[tuple[str, str], int]) -> Document:
    """Convert a Struct to a document. `ids` maps (namespace, name) to the ID of each object that the Struct refers
    to."""
    document: Document = msgspec.to_builtins(value)
    for info in reference_fields(object_type):
        document[info.name] = map_references(document[info.name], partial(_id_of, ids, info.ref))
    return document


def _id_of(ids: Mapping[tuple[str, str], int], space: str, name: str) -> int:
    return ids[space, name]


def document_to_struct(object_type: ObjectType, document: Document, names: Mapping[int, str], secrets: Secrets) -> Any:
    """Convert a document to a Struct. Raises ServiceUnavailable, whose message contains the name of the object, if this
    version of zatotx cannot read the document."""
    document = replace_ids_with_names(object_type, document, names)
    for name, kind in secret_fields(object_type).items():
        if name in document:
            document[name] = secrets.from_stored(kind, document[name])
    try:
        return msgspec.convert(document, object_type.struct)
    except msgspec.ValidationError as error:
        raise ServiceUnavailable(
            None, f'{object_type.key} {document.get("name")!r} of the ODB does not fit this version: {error}'
        ) from error


def replace_ids_with_names(object_type: ObjectType, document: Document, names: Mapping[int, str]) -> Document:
    """Return the document with IDs replaced by names. Secrets remain encrypted or hashed."""
    named_document = dict(document)
    for info in reference_fields(object_type):
        if info.name in document:
            named_document[info.name] = map_references(document[info.name], names.__getitem__)
    return named_document


def referenced_ids(object_type: ObjectType, document: Document) -> dict[str, int]:
    """Return a mapping from field paths to the IDs of the objects that the fields refer to."""
    return {
        path: target
        for info in reference_fields(object_type)
        for path, target in iter_references(info, document.get(info.name))
    }


def names_by_id(connection: Connection, object_ids: Iterable[int]) -> dict[int, str]:
    """Return a mapping from object IDs to names."""
    names: dict[int, str] = {}
    for chunk in split_into_chunks(sorted(set(object_ids))):
        rows = connection.execute(
            select(config_object.c.id, config_object.c.name).where(config_object.c.id.in_(chunk))
        )
        names.update((row.id, row.name) for row in rows)
    return names
