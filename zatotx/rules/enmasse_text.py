"""`${NAME}` in an enmasse document: read from the environment on the way in, put for secrets on the way out.

`$${NAME}` stands for the text `${NAME}` itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

_PLACEHOLDER = re.compile(r'\$(\$)?\{([^{}]*)\}')


class Mistake(msgspec.Struct, frozen=True):
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


def substitute(document: Any, environ: Mapping[str, str]) -> tuple[Any, list[Mistake]]:
    """The document with every `${NAME}` replaced, and a mistake for each variable the environment does not have.
    Keys are left as they are."""
    if not isinstance(document, dict):
        return document, []
    mistakes: list[Mistake] = []
    replaced = {
        section: [
            _in_object(item, environ, mistakes, (str(section), label_of(item, number)))
            for number, item in enumerate(items, 1)
        ]
        if isinstance(items, list)
        else items
        for section, items in document.items()
    }
    return replaced, mistakes


def _in_object(item: Any, environ: Mapping[str, str], mistakes: list[Mistake], place: tuple[str, str]) -> Any:
    if not isinstance(item, dict):
        return item
    found: dict[Any, Any] = {}
    for field, value in item.items():
        missing: list[str] = []
        found[field] = _in_value(value, environ, missing)
        mistakes.extend(
            Mistake(*place, str(field), f'the environment has no variable {name!r}') for name in dict.fromkeys(missing)
        )
    return found


def _in_value(value: Any, environ: Mapping[str, str], missing: list[str]) -> Any:
    if isinstance(value, str):
        return _in_text(value, environ, missing)
    if isinstance(value, list):
        return [_in_value(each, environ, missing) for each in value]
    if isinstance(value, dict):
        return {key: _in_value(each, environ, missing) for key, each in value.items()}
    return value


def _in_text(text: str, environ: Mapping[str, str], missing: list[str]) -> str:
    def replacement(found: re.Match[str]) -> str:
        name = found[2]
        if found[1]:
            return f'${{{name}}}'
        if name not in environ:
            missing.append(name)
        return environ.get(name, '')

    return _PLACEHOLDER.sub(replacement, text)


def escaped(value: Any) -> Any:
    """The value in a form that `substitute` gives back as it is."""
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda found: f'${found[0]}', value)
    if isinstance(value, list):
        return [escaped(each) for each in value]
    if isinstance(value, dict):
        return {key: escaped(each) for key, each in value.items()}
    return value
