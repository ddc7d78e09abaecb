"""References in configuration files: `${NAME}` is a variable of the environment, `file:PATH` what a file holds.

`$${NAME}` stands for the text `${NAME}` itself, `$file:PATH` for the text `file:PATH`. What a variable or a file holds
is taken as it is: references in it are text. A file's path may have variables in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import frozen

_PLACEHOLDER = re.compile(r'\$(\$)?\{([^{}]*)\}')
_FILE = 'file:'
_LIKE_FILE = re.compile(r'\$*file:')

Read = Callable[[str], str]  # a path as it is written -> the file's text; raises ValueError with a sentence


@frozen(kw_only=True)
class Sources:
    """Where references lead."""

    environ: Mapping[str, str]
    read: Read | None = None  # None: there are no files, `file:` is text like any other

    def resolve(self, value: Any, wrong: list[str]) -> Any:
        """The value with every reference in it, at any depth, replaced; what cannot be found is added to `wrong`, a
        sentence each, and stands for ''. Keys are left as they are."""
        if isinstance(value, str):
            return self._text(value, wrong)
        if isinstance(value, list):
            return [self.resolve(each, wrong) for each in value]
        if isinstance(value, dict):
            return {key: self.resolve(each, wrong) for key, each in value.items()}
        return value

    def _text(self, text: str, wrong: list[str]) -> str:
        before = len(wrong)
        found = self._variables(text, wrong)
        if self.read is None or not _LIKE_FILE.match(text):
            return found
        if not text.startswith(_FILE):
            return found[1:]
        if len(wrong) > before:
            return ''
        return self._content(self.read, found.removeprefix(_FILE), wrong)

    def _variables(self, text: str, wrong: list[str]) -> str:
        def replacement(found: re.Match[str]) -> str:
            name = found[2]
            if found[1]:
                return f'${{{name}}}'
            if name not in self.environ and (said := f'the environment has no variable {name!r}') not in wrong:
                wrong.append(said)
            return self.environ.get(name, '')

        return _PLACEHOLDER.sub(replacement, text) if '$' in text else text

    def _content(self, read: Read, path: str, wrong: list[str]) -> str:
        try:
            return read(path)
        except ValueError as error:
            wrong.append(str(error))
            return ''


def escaped(value: Any) -> Any:
    """The value in a form that `Sources.resolve` gives back as it is."""
    if isinstance(value, str):
        text = _PLACEHOLDER.sub(lambda found: f'${found[0]}', value)
        return f'${text}' if _LIKE_FILE.match(text) else text
    if isinstance(value, list):
        return [escaped(each) for each in value]
    if isinstance(value, dict):
        return {key: escaped(each) for key, each in value.items()}
    return value


def refers(value: object) -> bool:
    """Whether a reference stands in the value, at any depth."""
    if isinstance(value, str):
        return value.startswith(_FILE) or any(not found[1] for found in _PLACEHOLDER.finditer(value))
    return any(refers(each) for each in _inside(value))


def _inside(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list):
        yield from value
