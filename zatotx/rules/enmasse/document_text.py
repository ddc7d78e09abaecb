"""References in an enmasse document, and how its mistakes are named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from zatotx.rules.enmasse.references import Read, ReferenceSources


class DocumentError(msgspec.Struct, frozen=True):
    """One thing wrong with a document: where, and what."""

    section: str
    object: str  # its name in quotes, '#3' where it has none, or ''
    field: str
    text: str

    def __str__(self) -> str:
        place = ' '.join(part for part in (self.section, self.object) if part)
        return ': '.join(part for part in (place, self.field, self.text) if part)


def label_of(item: object, number: int) -> str:
    """How a mistake names the `number`th object of a section."""
    name = item.get('name') if isinstance(item, dict) else None
    return repr(name) if isinstance(name, str) and name else f'#{number}'


def substitute(
    document: Any, environ: Mapping[str, str], read: Read | None = None
) -> tuple[Any, list[DocumentError]]:
    """The document with every reference replaced (rules/references.py), and a mistake for each that leads nowhere.
    `read` gives the text of a file; without it `file:` is text like any other."""
    if not isinstance(document, dict):
        return document, []
    mistakes: list[DocumentError] = []
    sources = ReferenceSources(environ=environ, read=read, zato=True)
    replaced = {
        section: [
            _in_object(item, sources, mistakes, (str(section), label_of(item, number)))
            for number, item in enumerate(items, 1)
        ]
        if isinstance(items, list)
        else items
        for section, items in document.items()
    }
    return replaced, mistakes


def _in_object(item: Any, sources: ReferenceSources, mistakes: list[DocumentError], place: tuple[str, str]) -> Any:
    if not isinstance(item, dict):
        return item
    found: dict[Any, Any] = {}
    for field, value in item.items():
        wrong: list[str] = []
        found[field] = sources.resolve(value, wrong)
        mistakes.extend(DocumentError(*place, str(field), text) for text in wrong)
    return found
