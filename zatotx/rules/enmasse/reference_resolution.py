"""Resolves references in configuration files: `${NAME}` is an environment variable, `file:PATH` the content of a file.

`$${NAME}` is the literal text `${NAME}`, `$file:PATH` the literal text `file:PATH`. The content of a variable or a file
is not expanded further. A file's path may contain variables.

Files written for Zato use other forms (feature map 7.1): a whole value `Zato_Enmasse_Env.NAME`, `ZatoEnmasseEnv.NAME`
or `Zato_Enmasse_Env_NAME`, and a whole value `$NAME`, as in Zato's configuration files. `ReferenceResolver(zato=True)`
supports them; an additional leading `$` makes them literal text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from attrs import frozen

_PLACEHOLDER = re.compile(r'\$(\$)?\{([^{}]*)\}')
_FILE = 'file:'
_FILE_PREFIX = re.compile(r'\$*file:')

_ZATO = r'zato_?enmasse_?env[._]'
_ZATO_WHOLE = re.compile(rf'(?i:{_ZATO})(.*)', re.DOTALL)
_ANY_REFERENCE = re.compile(rf'{_PLACEHOLDER.pattern}|(\$*)(?i:{_ZATO})')
_ZATO_VARIABLE = re.compile(rf'(\$+)(?!(?i:{_ZATO}))([A-Z_][A-Z0-9_]*)')  # lower-case text is more likely a password
_OBVIOUS_REFERENCE = re.compile(rf'\$\{{[A-Za-z_][A-Za-z0-9_]*\}}|file:/\S+|(?i:{_ZATO}).*', re.DOTALL)

UNRESOLVED_REFERENCE = 'it refers to a variable that was not read: the one who sends the document must replace it'

FileReader = Callable[[str], str]  # returns the text of a file; raises ValueError with a sentence


@frozen(kw_only=True)
class ReferenceResolver:
    """Resolves references from environment variables and files."""

    environ: Mapping[str, str]
    read_file: FileReader | None = None  # None: files are not supported, `file:` is plain text
    zato_syntax: bool = False  # whether Zato's forms are references

    def resolve(self, value: Any, errors: list[str]) -> Any:
        """Replace every reference in the value, at any depth. Adds a sentence to `errors` for each that cannot be
        resolved and replaces it by ''. Mapping keys are not changed."""
        if isinstance(value, str):
            return self._resolve_text(value, errors)
        if isinstance(value, list):
            return [self.resolve(item, errors) for item in value]
        if isinstance(value, dict):
            return {key: self.resolve(item, errors) for key, item in value.items()}
        return value

    def _resolve_text(self, text: str, errors: list[str]) -> str:
        if self.zato_syntax and (value := self._resolve_zato(text, errors)) is not None:
            return value
        error_count = len(errors)
        text_with_variables = self._replace_variables(text, errors)
        if self.read_file is None or not _FILE_PREFIX.match(text):
            return text_with_variables
        if not text.startswith(_FILE):
            return text_with_variables[1:]
        if len(errors) > error_count:
            return ''
        return self._read_file(self.read_file, text_with_variables.removeprefix(_FILE), errors)

    def _resolve_zato(self, text: str, errors: list[str]) -> str | None:
        """Return the value of a text that is, as a whole, a Zato reference; None if it is not one."""
        if (match := _ZATO_WHOLE.fullmatch(text)) is not None:
            name = match[1]
            return self._resolve_variable(name if name in self.environ or text not in self.environ else text, errors)
        if (bare_match := _ZATO_VARIABLE.fullmatch(text)) is None:
            return None
        if len(bare_match[1]) > 1:
            return text[1:]
        if bare_match[2] not in self.environ:  # the message omits the name: it may be a password
            _add_once(errors, 'it reads as $NAME, a variable that the environment does not have: set it, or begin with '
                             '$$ where it is the text itself')  # fmt: skip
        return self.environ.get(bare_match[2], '')

    def _replace_variables(self, text: str, errors: list[str]) -> str:
        def replacement(match: re.Match[str]) -> str:
            if self.zato_syntax and match[3] is not None:
                if not match[3]:
                    _add_once(errors, f'{match[0]}NAME must be the whole value: write ${{NAME}} within a longer text')
                return match[0][1:]
            return f'${{{match[2]}}}' if match[1] else self._resolve_variable(match[2], errors)

        if self.zato_syntax:
            return _ANY_REFERENCE.sub(replacement, text)
        return _PLACEHOLDER.sub(replacement, text) if '$' in text else text

    def _resolve_variable(self, name: str, errors: list[str]) -> str:
        if name not in self.environ:
            _add_once(errors, f'the environment has no variable {name!r}')
        return self.environ.get(name, '')

    def _read_file(self, read: FileReader, path: str, errors: list[str]) -> str:
        try:
            return read(path)
        except ValueError as error:
            errors.append(str(error))
            return ''


def escape_references(value: Any) -> Any:
    """Escape references in a value, so that `ReferenceResolver(zato=True).resolve` returns the value unchanged."""
    if isinstance(value, str):
        if _ZATO_VARIABLE.fullmatch(value):
            return f'${value}'
        text = _ANY_REFERENCE.sub(lambda match: f'${match[0]}', value)
        return f'${text}' if _FILE_PREFIX.match(text) else text
    if isinstance(value, list):
        return [escape_references(item) for item in value]
    if isinstance(value, dict):
        return {key: escape_references(item) for key, item in value.items()}
    return value


def has_reference(value: object) -> bool:
    """Return whether the value contains a reference, at any depth. Zato's own reference forms are not counted."""
    if isinstance(value, str):
        return value.startswith(_FILE) or any(not match[1] for match in _PLACEHOLDER.finditer(value))
    return any(has_reference(item) for item in _items_of(value))


def has_unresolved_reference(value: object) -> bool:
    """Return whether the value contains an unresolved reference, at any depth: `${NAME}` or one of Zato's forms."""
    if isinstance(value, str):
        return bool(_ANY_REFERENCE.search(value) or _ZATO_VARIABLE.fullmatch(value))
    return any(has_unresolved_reference(item) for item in _items_of(value))


def is_obvious_reference(secret: str) -> bool:
    """Return whether a secret is clearly an unresolved reference: `${NAME}`, `file:` with an absolute path, or a Zato
    reference. `$NAME` does not count as a reference, because it could be a password."""
    return bool(_OBVIOUS_REFERENCE.fullmatch(secret))


def _add_once(errors: list[str], text: str) -> None:
    if text not in errors:
        errors.append(text)


def _items_of(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


class DocumentReferenceError(msgspec.Struct, frozen=True):
    """One error in a document: its location and its description."""

    section: str
    object: str  # its quoted name, '#3' if it has none, or ''
    field: str
    description: str

    def __str__(self) -> str:
        location = ' '.join(part for part in (self.section, self.object) if part)
        return ': '.join(part for part in (location, self.field, self.description) if part)


def item_label(item: object, number: int) -> str:
    """Return a label for an object in a section of the document, for error messages. `number` is the position of the
    object in the section."""
    name = item.get('name') if isinstance(item, dict) else None
    return repr(name) if isinstance(name, str) and name else f'#{number}'


def substitute_references(
    document: Any, environ: Mapping[str, str], read_file: FileReader | None = None
) -> tuple[Any, list[DocumentReferenceError]]:
    """Return the document with every reference replaced, and an error for each reference that cannot be resolved.
    `read_file` returns the text of a file; if it is None, `file:` is treated as plain text."""
    if not isinstance(document, dict):
        return document, []
    errors: list[DocumentReferenceError] = []
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
    item: Any, sources: ReferenceResolver, errors: list[DocumentReferenceError], location: tuple[str, str]
) -> Any:
    if not isinstance(item, dict):
        return item
    replaced: dict[Any, Any] = {}
    for field, value in item.items():
        texts: list[str] = []
        replaced[field] = sources.resolve(value, texts)
        errors.extend(DocumentReferenceError(*location, str(field), text) for text in texts)
    return replaced
