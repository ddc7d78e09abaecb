"""Plans the import of the section `data_dictionary` of an enmasse document, and exports the section. Pure: no I/O.

Its rows are translations, `{system1, key1, value1, system2, key2, value2}`, or single entries, `{system, key, value}`.
An import adds what is missing and changes a translation whose `value2` differs; it deletes nothing.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field

from zatotx.rules.enmasse.reference_resolution import (
    UNRESOLVED_REFERENCE,
    DocumentReferenceError,
    escape_references,
    has_unresolved_reference,
)
from zatotx.rules.redis.data_dictionary import DataDictionary, Entry, entry_error

SECTION = 'data_dictionary'
_ENTRY = ('system', 'key', 'value')
_TRANSLATION = ('system1', 'key1', 'value1', 'system2', 'key2', 'value2')


@define
class DictionaryPlan:
    """The changes that an import of a data dictionary would make. `dictionary` is the resulting dictionary. If there
    are errors, nothing may be written."""

    dictionary: DataDictionary
    errors: list[DocumentReferenceError] = field(factory=list)
    diff_lines: list[str] = field(factory=list)
    changed: int = 0
    unchanged: int = 0
    rows: object = None  # as given


def plan_dictionary(rows: object, dictionary: DataDictionary, *, references_resolved: bool) -> DictionaryPlan:
    """Return the import plan for the rows of a data dictionary. Modifies `dictionary` in place."""
    plan = DictionaryPlan(dictionary, rows=rows)
    if rows is not None and not isinstance(rows, list):
        plan.errors.append(DocumentReferenceError(SECTION, '', '', 'must be a list of translations'))
        return plan
    seen: dict[tuple[str, ...], str] = {}
    for number, row in enumerate(rows or (), 1):
        parts = _read(row, f'#{number}', plan.errors, references_resolved)
        if parts is None:
            continue
        identity = parts[:5] if len(parts) == 6 else parts
        if identity in seen:
            plan.errors.append(DocumentReferenceError(SECTION, f'#{number}', '', f'it repeats {seen[identity]}'))
            continue
        seen[identity] = f'#{number}'
        if not plan.errors:
            _apply(plan, parts)
    return plan


def export_rows(dictionary: DataDictionary) -> list[dict[str, str]]:
    """Return the rows from which an import recreates the dictionary: all translations, and the entries that no
    translation uses."""
    translations = dictionary.translations()
    rows = [_row(_TRANSLATION, (*one.source, *one.target)) for one in translations]
    used = {number for one in translations for number in (one.id1, one.id2)}
    rows += [_row(_ENTRY, (e.system, e.key, e.value)) for e in dictionary.entries() if e.id not in used]
    return rows


def _row(names: tuple[str, ...], texts: tuple[str, ...]) -> dict[str, str]:
    return {name: escape_references(text) for name, text in zip(names, texts, strict=True)}


def _read(row: object, label: str, errors: list[DocumentReferenceError], resolved: bool) -> tuple[str, ...] | None:
    """Return the texts of a row; None after reporting its errors."""
    if not isinstance(row, dict):
        errors.append(DocumentReferenceError(SECTION, label, '', 'must be a mapping of fields'))
        return None
    names = _ENTRY if set(row) & set(_ENTRY) else _TRANSLATION
    found = [(str(name), 'unknown field') for name in row if name not in names]
    texts: dict[str, str] = {}
    for name in names:
        value: Any = row.get(name)
        if isinstance(value, bool) or not isinstance(value, (str, int)) or value == '':
            found.append((name, 'missing' if value in (None, '') else 'expected text'))
        elif not resolved and has_unresolved_reference(value):
            found.append((name, UNRESOLVED_REFERENCE))
        else:
            texts[name] = str(value)
    if not found:
        parts = tuple(texts[name] for name in names)
        found = [('', problem) for entry in _entries(parts) if (problem := entry_error(entry))]
        if not found:
            return parts
    errors.extend(DocumentReferenceError(SECTION, label, name, text) for name, text in found)
    return None


def _entries(parts: tuple[str, ...]) -> list[Entry]:
    return [(parts[at], parts[at + 1], parts[at + 2]) for at in range(0, len(parts), 3)]


def _apply(plan: DictionaryPlan, parts: tuple[str, ...]) -> None:
    dictionary, entries = plan.dictionary, _entries(parts)
    added = [dictionary.ensure_entry(entry) for entry in entries]
    if len(entries) == 1:
        _count(plan, '+' if added[0] else '', ', '.join(parts))
        return
    source, target = entries
    existing = dictionary.find_translation(source, target[:2])
    text = f'{", ".join(source)} -> {", ".join(target)}'
    if existing is None:
        dictionary.add_translation(source, target)
        _count(plan, '+', text)
    elif existing.target != target:
        dictionary.edit_translation(existing.id, source, target)
        _count(plan, '~', f'{text} (was {existing.target[2]})')
    else:
        _count(plan, '', text)


def _count(plan: DictionaryPlan, sign: str, text: str) -> None:
    if sign:
        plan.changed += 1
        plan.diff_lines.append(f'{sign} {SECTION} {text}')
    else:
        plan.unchanged += 1
