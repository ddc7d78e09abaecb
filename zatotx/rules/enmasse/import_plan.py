"""Plans an enmasse import: compares a document with the cluster's configuration and returns the changes. Pure: no I/O.

An import creates missing objects and edits those that differ. Fields missing from the document keep their values; with
`replace` they get their defaults, except secrets. Objects missing from the document are never touched (as with Zato's
`--replace-odb-objects`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from attrs import Factory, define

from zatotx.rules.enmasse.document_export import export_document
from zatotx.rules.enmasse.object_diff import allows_anonymous_access, changed_fields, describe_changes
from zatotx.rules.enmasse.reference_resolution import (
    UNRESOLVED_REFERENCE,
    DocumentReferenceError,
    has_unresolved_reference,
    item_label,
    substitute_references,
)
from zatotx.schema.meta import ObjectType, fields_of, iter_references, reference_fields, secret_fields
from zatotx.schema.references import SnapshotReferences, reference_error
from zatotx.schema.secrets import hash_of_dual_secret, is_dual_secret
from zatotx.schema.snapshot import Operation, Snapshot, StoredObject
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.schema.validation import convert_field_text, normalize, unknown_field_error, validate, validate_change

_KINDS = {
    type(None): 'nothing',
    str: 'text',
    int: 'a number',
    float: 'a number',
    bool: 'true or false',
    list: 'a list',
    dict: 'a mapping',
}

MAX_SUGGESTIONS = 20  # maximum number of errors per document that suggest a similar name

__all__ = [
    'DocumentReferenceError',
    'ImportPlan',
    'ValidatedObject',
    'export_document',
    'plan_import',
    'substitute_references',
]


class ImportPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The changes that an enmasse import would make. If there are errors, there are no operations."""

    operations: tuple[Operation, ...] = ()
    errors: tuple[DocumentReferenceError, ...] = ()
    diff_lines: tuple[str, ...] = ()  # the readable difference
    unchanged: int = 0
    anonymous_channels: tuple[str, ...] = ()  # channels of the document without authentication: "channel_rest 'a'"


class ValidatedObject(msgspec.Struct, frozen=True, kw_only=True):
    """A validated object of an import document."""

    object_type: ObjectType
    value: Any
    existing: StoredObject | None

    @property
    def label(self) -> str:
        return repr(self.value.name)


def plan_import(
    document: object,
    types: ObjectTypeRegistry,
    snapshot: Snapshot,
    *,
    replace: bool,
    verify: Callable[[str, str], bool],
    references_resolved: bool = True,
    now: datetime | None = None,
) -> ImportPlan:
    """Return the plan of an import, or all errors of the document. `verify(hash, clear)` returns whether a hashed
    secret matches; it may be slow, so call this function in a thread. `references_resolved` says whether references in
    the document have been replaced; if not, each reference is an error. `now` is the current time, with which dates in
    the past are rejected, or None to skip this check."""
    named = dict(_declared_types(document, types))
    reader = _DocumentReader(types=types, snapshot=snapshot, replace=replace, resolved=references_resolved, named=named,
                             now=now)  # fmt: skip
    entries = list(reader.read(document))
    errors = [*reader.errors, *_uniqueness_errors(entries, snapshot)]
    if errors:
        return ImportPlan(errors=tuple(errors))
    plan = _compare(entries, verify=verify)
    unauthenticated = (e for e in entries if allows_anonymous_access(e.object_type, e.value))
    return msgspec.structs.replace(
        plan, anonymous_channels=tuple(f'{e.object_type.section} {e.label}' for e in unauthenticated)
    )


@define(kw_only=True)
class _DocumentReader:
    """Reads a document object by object: yields the valid ones and collects all errors of the others."""

    types: ObjectTypeRegistry
    snapshot: Snapshot
    replace: bool
    resolved: bool
    # All objects of the document, valid or not: (section, name) -> type, or None if the type is invalid.
    named: Mapping[tuple[str, str], ObjectType | None]
    now: datetime | None = None
    errors: list[DocumentReferenceError] = Factory(list)
    _seen: set[tuple[str, str]] = Factory(set)
    _suggestions: int = 0  # number of names compared with all others, which takes milliseconds each

    def read(self, document: object) -> Iterator[ValidatedObject]:
        if not isinstance(document, dict):
            self._add_error('', '', '', f'the document must be a mapping of sections, not {_describe_type(document)}')
            return
        for section, items in document.items():
            if section not in self.types.sections:
                error = unknown_field_error(str(section), self.types.sections)
                self._add_error(str(section), '', '', f'section {error}')
            elif items is not None and not isinstance(items, list):
                self._add_error(section, '', '', f'must be a list of objects, not {_describe_type(items)}')
            else:
                for number, item in enumerate(items or (), 1):
                    entry = self._entry(section, item_label(item, number), item)
                    if entry is not None:
                        yield entry

    def _entry(self, section: str, label: str, item: object) -> ValidatedObject | None:
        if not isinstance(item, dict):
            self._add_error(section, label, '', f'must be a mapping of fields, not {_describe_type(item)}')
            return None
        self._check_duplicate(section, label, item.get('name'))
        object_type, error = _type_of(self.types, section, item)
        if object_type is None:
            self._add_error(section, label, 'type', error)
            return None
        existing = self._existing(section, item.get('name'))
        if existing is not None and existing.type != object_type.key:
            self._add_error(section, label, 'type', f'it exists already as {self.types[existing.type].tag}')
            return None
        fields = _fields(object_type, item)
        value, errors = validate(object_type, {**_kept_fields(object_type, existing, whole=not self.replace), **fields})
        if self.now is not None:
            errors += validate_change(object_type, value, existing and existing.value, self.now)
        errors = [*errors, *self._dangling_references(object_type, fields), *self._unresolved_references(item)]
        for field, text in errors:
            self._add_error(section, label, field, text)
        return None if errors else ValidatedObject(object_type=object_type, value=value, existing=existing)

    def _check_duplicate(self, section: str, label: str, name: object) -> None:
        if isinstance(name, str):
            if (section, name) in self._seen:
                self._add_error(section, label, 'name', 'there are two objects of this name in the document')
            self._seen.add((section, name))

    def _existing(self, section: str, name: object) -> StoredObject | None:
        if not isinstance(name, str):
            return None
        matches = (self.snapshot.find(object_type.key, name) for object_type in self.types.in_namespace(section))
        return next((stored for stored in matches if stored is not None), None)

    def _unresolved_references(self, item: Mapping[Any, Any]) -> list[tuple[str, str]]:
        """Report fields with unreplaced references, without their values, which may be secrets."""
        if self.resolved:
            return []
        return [(str(field), UNRESOLVED_REFERENCE) for field, value in item.items() if has_unresolved_reference(value)]

    def _dangling_references(self, object_type: ObjectType, fields: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """Report references to objects that neither the document nor the cluster contains, or of the wrong type."""
        references = SnapshotReferences(self.snapshot, self.types)
        for info in reference_fields(object_type):
            for path, name in iter_references(info, fields.get(info.name)):
                if not isinstance(name, str) or not name:
                    continue
                key = info.ref, name
                if key in self.named and self.named[key] is None:
                    continue  # reported at that object
                target = self.named.get(key) or references.type_of(*key)
                known_names = self._known_names(references, info.ref) if target is None else ()
                error = reference_error(info, name, target, references.keys_for(info), known_names)
                if error:
                    yield path, error

    def _known_names(self, references: SnapshotReferences, space: str) -> Iterator[str]:
        """Yield the names to suggest, from the document and the cluster, for the first errors only."""
        self._suggestions += 1
        if self._suggestions <= MAX_SUGGESTIONS:
            yield from (name for known, name in self.named if known == space)
            yield from references.names(space)

    def _add_error(self, section: str, label: str, field: str, text: str) -> None:
        self.errors.append(DocumentReferenceError(section, label, field, text))


def _type_of(types: ObjectTypeRegistry, section: str, item: Mapping[str, Any]) -> tuple[ObjectType | None, str]:
    """Return the type of an item, or the error of its `type:`, which is optional if the section has one type."""
    candidates = types.in_namespace(section)
    tags = [t.tag for t in candidates if t.tag]
    if not tags or ('type' not in item and len(candidates) == 1):
        return candidates[0], ''
    for object_type in candidates:
        if object_type.tag == item.get('type'):
            return object_type, ''
    got = f', got {item["type"]!r}' if 'type' in item else ''
    return None, f'must be one of: {", ".join(tags)}{got}'


def _fields(object_type: ObjectType, item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the item without its `type:`; convert text, as environment variables supply it, to the type of the field,
    and normalize the fields."""
    infos = {f.name: f for f in fields_of(object_type)}
    fields = {
        str(key): convert_field_text(infos[key], value) if key in infos else value
        for key, value in item.items()
        if not (key == 'type' and object_type.tag)
    }
    return dict(normalize(object_type, fields))


def _kept_fields(object_type: ObjectType, existing: StoredObject | None, *, whole: bool) -> dict[str, Any]:
    """Return the fields that keep their values if the document omits them: all (`whole`), or secrets only."""
    if existing is None:
        return {}
    names = [field.name for field in fields_of(object_type)] if whole else secret_fields(object_type)
    return {name: getattr(existing.value, name) for name in names}


def _declared_types(document: object, types: ObjectTypeRegistry) -> Iterator[tuple[tuple[str, str], ObjectType | None]]:
    if isinstance(document, dict):
        for section, items in document.items():
            for item in items if isinstance(items, list) else ():
                if isinstance(item, dict) and isinstance(item.get('name'), str):
                    is_known_section = section in types.sections
                    yield (str(section), item['name']), _type_of(types, section, item)[0] if is_known_section else None


def _uniqueness_errors(entries: list[ValidatedObject], snapshot: Snapshot) -> Iterator[DocumentReferenceError]:
    """Report texts that two objects of one type must not share. Considers the state after the import, so that objects
    may swap them."""
    replaced = {entry.existing.id for entry in entries if entry.existing is not None}
    unique = {entry.object_type.key: entry.object_type.unique_text for entry in entries}
    holders = {
        (stored.type, unique_text(stored.value)): stored.name
        for stored in snapshot
        if stored.id not in replaced and (unique_text := unique.get(stored.type)) is not None
    }
    for entry in entries:
        unique_text = entry.object_type.unique_text
        text = '' if unique_text is None else unique_text(entry.value)
        holder = holders.setdefault((entry.object_type.key, text), entry.value.name) if text else entry.value.name
        if holder != entry.value.name:
            label = entry.object_type.unique_label
            yield DocumentReferenceError(
                entry.object_type.section, entry.label, label, f'{text!r} is taken by {holder!r}'
            )


def _compare(entries: Iterable[ValidatedObject], *, verify: Callable[[str, str], bool]) -> ImportPlan:
    operations: list[Operation] = []
    lines: list[str] = []
    unchanged = 0
    for entry in entries:
        old = None if entry.existing is None else entry.existing.value
        new = _merge_secrets(entry, verify)
        if old == new:
            unchanged += 1
            continue
        operations.append(_to_operation(entry, new))
        lines.extend(describe_changes(entry.object_type, old, new))
    return ImportPlan(operations=tuple(operations), diff_lines=tuple(lines), unchanged=unchanged)


def _merge_secrets(entry: ValidatedObject, verify: Callable[[str, str], bool]) -> Any:
    """Return the object as in the document; keep the stored form of an unchanged secret, unless only its hash is
    stored."""
    if entry.existing is None:
        return entry.value
    old, new = entry.existing.value, entry.value
    kinds = secret_fields(entry.object_type)
    unchanged = {
        name: getattr(old, name)
        for name in changed_fields(old, new)
        if _is_unchanged_secret(kinds.get(name, ''), getattr(old, name), getattr(new, name), verify)
    }
    return msgspec.structs.replace(new, **unchanged) if unchanged else new


def _is_unchanged_secret(kind: str, stored: str, secret: str, verify: Callable[[str, str], bool]) -> bool:
    """Return whether the stored form of a secret matches the secret in the document."""
    is_verifiable = kind == 'hashed' or (kind == 'both' and is_dual_secret(stored))
    return (
        is_verifiable
        and bool(stored)
        and (secret == hash_of_dual_secret(stored) or verify(hash_of_dual_secret(stored), secret))
    )


def _to_operation(entry: ValidatedObject, new: Any) -> Operation:
    key, existing = entry.object_type.key, entry.existing
    if existing is None:
        return Operation(action='create', type=key, name=new.name, fields=msgspec.structs.asdict(new))
    fields = {name: getattr(new, name) for name in changed_fields(existing.value, new)}
    return Operation(action='edit', type=key, name=new.name, id=existing.id, fields=fields)


def _describe_type(value: object) -> str:
    return _KINDS.get(type(value), f'a {type(value).__name__}')
