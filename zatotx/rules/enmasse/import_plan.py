"""enmasse: a YAML document against the cluster's configuration. Pure: documents and snapshots in, a plan out.

An import creates objects that are not there and changes those that differ. What the document does not say of an object
stays as it is; with `replace` an object becomes just what the document says, defaults for all the rest. Objects the
document does not name are never touched (as with Zato's `--replace-odb-objects`), secrets it does not give stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
from attrs import Factory, define

from zatotx.rules.enmasse.config_diff import changed_fields, diff, is_open
from zatotx.rules.enmasse.document_text import DocumentError, label_of, substitute
from zatotx.rules.enmasse.export import export
from zatotx.rules.enmasse.references import has_placeholder
from zatotx.schema.dual_secret import hash_of, is_dual
from zatotx.schema.fields import fields_of, references_in, refs_of, secrets_of
from zatotx.schema.lenient_conversion import from_text
from zatotx.schema.meta import ObjectType
from zatotx.schema.references import SnapshotReferences, reference_error
from zatotx.schema.snapshot import Operation, Snapshot, Stored
from zatotx.schema.type_registry import ObjectTypes
from zatotx.schema.validation import unknown_fields, validate

_KINDS = {
    type(None): 'nothing',
    str: 'text',
    int: 'a number',
    float: 'a number',
    bool: 'true or false',
    list: 'a list',
    dict: 'a mapping',
}

UNRESOLVED = 'it refers to a variable that was not read: the one who sends the document must replace it'
SUGGESTIONS = 20  # mistakes of one document that name what may have been meant

__all__ = ['DocumentError', 'Entry', 'ImportPlan', 'export', 'plan_import', 'substitute']


class ImportPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What an import would do. With mistakes there are no operations."""

    operations: tuple[Operation, ...] = ()
    mistakes: tuple[DocumentError, ...] = ()
    lines: tuple[str, ...] = ()  # the difference, for people
    unchanged: int = 0
    open: tuple[str, ...] = ()  # the document's channels that need no credentials: "channel_rest 'a'"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One object of a document, valid in itself."""

    object_type: ObjectType
    value: Any
    existing: Stored | None

    @property
    def label(self) -> str:
        return repr(self.value.name)


def plan_import(
    document: object,
    types: ObjectTypes,
    snapshot: Snapshot,
    *,
    replace: bool,
    verify: Callable[[str, str], bool],
    resolved: bool = True,
) -> ImportPlan:
    """The plan, or every mistake of the document at once. `verify(hash, clear)`: whether a hashed secret is this one;
    it may take its time, so plan in a thread. `resolved`: the references in the document were replaced, so that what
    looks like one is text; otherwise each is a mistake, as nothing here could read it."""
    named = dict(_names(document, types))
    reader = _Reader(types=types, snapshot=snapshot, replace=replace, resolved=resolved, named=named)
    entries = list(reader.read(document))
    mistakes = [*reader.mistakes, *_not_unique(entries, snapshot)]
    if mistakes:
        return ImportPlan(mistakes=tuple(mistakes))
    plan = _compared(entries, verify=verify)
    strangers = (e for e in entries if is_open(e.object_type, e.value))
    return msgspec.structs.replace(plan, open=tuple(f'{e.object_type.section} {e.label}' for e in strangers))


@define(kw_only=True)
class _Reader:
    """Reads a document object by object. Gives those that are valid; keeps every mistake of the others."""

    types: ObjectTypes
    snapshot: Snapshot
    replace: bool
    resolved: bool
    # Of all the document's objects, whether valid or not: (section, name) -> type, None where that is a mistake.
    named: Mapping[tuple[str, str], ObjectType | None]
    mistakes: list[DocumentError] = Factory(list)
    _seen: set[tuple[str, str]] = Factory(set)
    _suggestions: int = 0  # names that were compared with all others, which takes milliseconds each

    def read(self, document: object) -> Iterator[Entry]:
        if not isinstance(document, dict):
            self._wrong('', '', '', f'the document must be a mapping of sections, not {_kind(document)}')
            return
        for section, items in document.items():
            if section not in self.types.sections:
                self._wrong(str(section), '', '', f'section {unknown_fields(str(section), self.types.sections)}')
            elif items is not None and not isinstance(items, list):
                self._wrong(section, '', '', f'must be a list of objects, not {_kind(items)}')
            else:
                for number, item in enumerate(items or (), 1):
                    entry = self._entry(section, label_of(item, number), item)
                    if entry is not None:
                        yield entry

    def _entry(self, section: str, label: str, item: object) -> Entry | None:
        if not isinstance(item, dict):
            self._wrong(section, label, '', f'must be a mapping of fields, not {_kind(item)}')
            return None
        self._once(section, label, item.get('name'))
        object_type, wrong = _type_of(self.types, section, item)
        if object_type is None:
            self._wrong(section, label, 'type', wrong)
            return None
        existing = self._existing(section, item.get('name'))
        if existing is not None and existing.type != object_type.key:
            self._wrong(section, label, 'type', f'it exists already as {self.types[existing.type].tag}')
            return None
        fields = _fields(object_type, item)
        value, found = validate(object_type, {**_kept(object_type, existing, whole=not self.replace), **fields})
        found = [*found, *self._dangling(object_type, fields), *self._unresolved(item)]
        for field, text in found:
            self._wrong(section, label, field, text)
        return None if found else Entry(object_type=object_type, value=value, existing=existing)

    def _once(self, section: str, label: str, name: object) -> None:
        if isinstance(name, str):
            if (section, name) in self._seen:
                self._wrong(section, label, 'name', 'there are two objects of this name in the document')
            self._seen.add((section, name))

    def _existing(self, section: str, name: object) -> Stored | None:
        if not isinstance(name, str):
            return None
        found = (self.snapshot.named(object_type.key, name) for object_type in self.types.in_space(section))
        return next((stored for stored in found if stored is not None), None)

    def _unresolved(self, item: Mapping[Any, Any]) -> list[tuple[str, str]]:
        """Fields with references that nobody replaced. Never names their values: they may be secrets after all."""
        if self.resolved:
            return []
        return [(str(field), UNRESOLVED) for field, value in item.items() if has_placeholder(value)]

    def _dangling(self, object_type: ObjectType, fields: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """References to what is neither in the document nor there already, or does not fit."""
        references = SnapshotReferences(self.snapshot, self.types)
        for info in refs_of(object_type):
            for path, name in references_in(info, fields.get(info.name)):
                if not isinstance(name, str) or not name:
                    continue
                place = info.ref, name
                if place in self.named and self.named[place] is None:
                    continue  # that is told of where it stands
                found = self.named.get(place) or references.type_of(*place)
                wrong = reference_error(info, name, found, self._known(references, info.ref) if found is None else ())
                if wrong:
                    yield path, wrong

    def _known(self, references: SnapshotReferences, space: str) -> Iterator[str]:
        """The names that a reference may have meant, of the document and of the cluster; for the first few mistakes."""
        self._suggestions += 1
        if self._suggestions <= SUGGESTIONS:
            yield from (name for known, name in self.named if known == space)
            yield from references.names(space)

    def _wrong(self, section: str, label: str, field: str, text: str) -> None:
        self.mistakes.append(DocumentError(section, label, field, text))


def _type_of(types: ObjectTypes, section: str, item: Mapping[str, Any]) -> tuple[ObjectType | None, str]:
    """The type an item is of, or what is wrong with its `type:`. Where a section has one type it may be left out."""
    known = types.in_space(section)
    tags = [t.tag for t in known if t.tag]
    if not tags or ('type' not in item and len(known) == 1):
        return known[0], ''
    for object_type in known:
        if object_type.tag == item.get('type'):
            return object_type, ''
    got = f', got {item["type"]!r}' if 'type' in item else ''
    return None, f'must be one of: {", ".join(tags)}{got}'


def _fields(object_type: ObjectType, item: Mapping[str, Any]) -> dict[str, Any]:
    """The item without its `type:`; text, as the environment gives it, becomes the number or switch its field needs."""
    infos = {f.name: f for f in fields_of(object_type)}
    return {
        str(key): from_text(infos[key], value) if key in infos else value
        for key, value in item.items()
        if not (key == 'type' and object_type.tag)
    }


def _kept(object_type: ObjectType, existing: Stored | None, *, whole: bool) -> dict[str, Any]:
    """What a document that does not say it leaves as it is: the whole object, or its secrets alone."""
    if existing is None:
        return {}
    names = [field.name for field in fields_of(object_type)] if whole else secrets_of(object_type)
    return {name: getattr(existing.value, name) for name in names}


def _names(document: object, types: ObjectTypes) -> Iterator[tuple[tuple[str, str], ObjectType | None]]:
    if isinstance(document, dict):
        for section, items in document.items():
            for item in items if isinstance(items, list) else ():
                if isinstance(item, dict) and isinstance(item.get('name'), str):
                    known = section in types.sections
                    yield (str(section), item['name']), _type_of(types, section, item)[0] if known else None


def _not_unique(entries: list[Entry], snapshot: Snapshot) -> Iterator[DocumentError]:
    """Texts that two objects of one type cannot share: after the import, so objects may swap them."""
    replaced = {entry.existing.id for entry in entries if entry.existing is not None}
    unique = {entry.object_type.key: entry.object_type.unique for entry in entries}
    holders = {
        (stored.type, of(stored.value)): stored.name
        for stored in snapshot
        if stored.id not in replaced and (of := unique.get(stored.type)) is not None
    }
    for entry in entries:
        of = entry.object_type.unique
        text = '' if of is None else of(entry.value)
        holder = holders.setdefault((entry.object_type.key, text), entry.value.name) if text else entry.value.name
        if holder != entry.value.name:
            what = entry.object_type.unique_says
            yield DocumentError(entry.object_type.section, entry.label, what, f'{text!r} is taken by {holder!r}')


def _compared(entries: Iterable[Entry], *, verify: Callable[[str, str], bool]) -> ImportPlan:
    operations: list[Operation] = []
    lines: list[str] = []
    unchanged = 0
    for entry in entries:
        old = None if entry.existing is None else entry.existing.value
        new = _settled(entry, verify)
        if old == new:
            unchanged += 1
            continue
        operations.append(_step(entry, new))
        lines.extend(diff(entry.object_type, old, new))
    return ImportPlan(operations=tuple(operations), lines=tuple(lines), unchanged=unchanged)


def _settled(entry: Entry, verify: Callable[[str, str], bool]) -> Any:
    """The object as the document says it; a secret that is still the right one stays as it is, unless only the hash of
    it is there."""
    if entry.existing is None:
        return entry.value
    old, new = entry.existing.value, entry.value
    kinds = secrets_of(entry.object_type)
    same = {
        name: getattr(old, name)
        for name in changed_fields(old, new)
        if _is_still(kinds.get(name, ''), getattr(old, name), getattr(new, name), verify)
    }
    return msgspec.structs.replace(new, **same) if same else new


def _is_still(kind: str, stored: str, given: str, verify: Callable[[str, str], bool]) -> bool:
    """Whether what is stored of a secret is the right thing for what a document gives."""
    return kind == 'both' and is_dual(stored) and (given == hash_of(stored) or verify(hash_of(stored), given))


def _step(entry: Entry, new: Any) -> Operation:
    key, existing = entry.object_type.key, entry.existing
    if existing is None:
        return Operation(action='create', type=key, name=new.name, fields=msgspec.structs.asdict(new))
    fields = {name: getattr(new, name) for name in changed_fields(existing.value, new)}
    return Operation(action='edit', type=key, name=new.name, id=existing.id, fields=fields)


def _kind(value: object) -> str:
    return _KINDS.get(type(value), f'a {type(value).__name__}')
