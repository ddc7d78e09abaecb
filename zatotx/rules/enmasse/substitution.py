"""Substitution of references in an enmasse document, and the labels of its errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from zatotx.rules.enmasse.references import FileReader, ReferenceResolver


class DocumentError(msgspec.Struct, frozen=True):
    """One error in a document: where and what."""

    section: str
    object: str  # its quoted name, '#3' if it has none, or ''
    field: str
    description: str

    def __str__(self) -> str:
        location = ' '.join(part for part in (self.section, self.object) if part)
        return ': '.join(part for part in (location, self.field, self.description) if part)


def item_label(item: object, number: int) -> str:
    """Returns the label of the `number`th object of a section for error messages."""
    name = item.get('name') if isinstance(item, dict) else None
    return repr(name) if isinstance(name, str) and name else f'#{number}'


def substitute_references(
    document: Any, environ: Mapping[str, str], read_file: FileReader | None = None
) -> tuple[Any, list[DocumentError]]:
    """Returns the document with every reference replaced (see rules/enmasse/references.py), and an error for each that
    cannot be resolved. `read_file` returns the text of a file; without it, `file:` is plain text."""
    if not isinstance(document, dict):
        return document, []
    errors: list[DocumentError] = []
    sources = ReferenceResolver(environ=environ, read_file=read_file, zato_syntax=True)
    replaced = {
        section: [
            _substitute_object(item, sources, errors, (str(section), item_label(item, number)))
            for number, item in enumerate(items, 1)
        ]
        if isinstance(items, list)
        else items
        for section, items in document.items()
    }
    return replaced, errors


def _substitute_object(
    item: Any, sources: ReferenceResolver, errors: list[DocumentError], location: tuple[str, str]
) -> Any:
    if not isinstance(item, dict):
        return item
    replaced: dict[Any, Any] = {}
    for field, value in item.items():
        texts: list[str] = []
        replaced[field] = sources.resolve(value, texts)
        errors.extend(DocumentError(*location, str(field), text) for text in texts)
    return replaced
