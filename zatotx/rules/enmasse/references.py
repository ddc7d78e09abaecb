"""References in configuration files: `${NAME}` is a variable of the environment, `file:PATH` what a file holds.

`$${NAME}` stands for the text `${NAME}` itself, `$file:PATH` for the text `file:PATH`. What a variable or a file holds
is taken as it is: references in it are text. A file's path may have variables in it.

Files written for Zato refer to variables in forms of their own (feature map 7.1): a whole value
`Zato_Enmasse_Env.NAME`, `ZatoEnmasseEnv.NAME` or `Zato_Enmasse_Env_NAME`, and a whole value `$NAME`, as in Zato's
configuration files. `ReferenceSources(zato=True)` reads them; one more `$` before them stands for the text itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import frozen

_PLACEHOLDER = re.compile(r'\$(\$)?\{([^{}]*)\}')
_FILE = 'file:'
_LIKE_FILE = re.compile(r'\$*file:')

_ZATO = r'zato_?enmasse_?env[._]'
_ZATO_WHOLE = re.compile(rf'(?i:{_ZATO})(.*)', re.DOTALL)
_EITHER = re.compile(rf'{_PLACEHOLDER.pattern}|(\$*)(?i:{_ZATO})')
_BARE = re.compile(rf'(\$+)(?!(?i:{_ZATO}))([A-Z_][A-Z0-9_]*)')  # in small letters it is more likely a password
_EVIDENT = re.compile(rf'\$\{{[A-Za-z_][A-Za-z0-9_]*\}}|file:/\S+|(?i:{_ZATO}).*', re.DOTALL)

Read = Callable[[str], str]  # a path as it is written -> the file's text; raises ValueError with a sentence


@frozen(kw_only=True)
class ReferenceSources:
    """Where references lead."""

    environ: Mapping[str, str]
    read: Read | None = None  # None: there are no files, `file:` is text like any other
    zato: bool = False  # whether Zato's forms are references too

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
        if self.zato and (whole := self._zato_value(text, wrong)) is not None:
            return whole
        before = len(wrong)
        found = self._variables(text, wrong)
        if self.read is None or not _LIKE_FILE.match(text):
            return found
        if not text.startswith(_FILE):
            return found[1:]
        if len(wrong) > before:
            return ''
        return self._content(self.read, found.removeprefix(_FILE), wrong)

    def _zato_value(self, text: str, wrong: list[str]) -> str | None:
        """The value of a text that is, as a whole, one of Zato's references; None where it is none."""
        if (found := _ZATO_WHOLE.fullmatch(text)) is not None:
            name = found[1]
            return self._variable(name if name in self.environ or text not in self.environ else text, wrong)
        if (bare := _BARE.fullmatch(text)) is None:
            return None
        if len(bare[1]) > 1:
            return text[1:]
        if bare[2] not in self.environ:  # its name stays unsaid: it may be a password
            _add(wrong, 'it reads as $NAME, a variable that the environment does not have: set it, or begin with $$ '
                        'where it is the text itself')  # fmt: skip
        return self.environ.get(bare[2], '')

    def _variables(self, text: str, wrong: list[str]) -> str:
        def replacement(found: re.Match[str]) -> str:
            if self.zato and found[3] is not None:
                if not found[3]:
                    _add(wrong, f'{found[0]}NAME must be the whole value: write ${{NAME}} within a longer text')
                return found[0][1:]
            return f'${{{found[2]}}}' if found[1] else self._variable(found[2], wrong)

        if self.zato:
            return _EITHER.sub(replacement, text)
        return _PLACEHOLDER.sub(replacement, text) if '$' in text else text

    def _variable(self, name: str, wrong: list[str]) -> str:
        if name not in self.environ:
            _add(wrong, f'the environment has no variable {name!r}')
        return self.environ.get(name, '')

    def _content(self, read: Read, path: str, wrong: list[str]) -> str:
        try:
            return read(path)
        except ValueError as error:
            wrong.append(str(error))
            return ''


def escape_references(value: Any) -> Any:
    """The value in a form that `ReferenceSources(zato=True).resolve` gives back as it is."""
    if isinstance(value, str):
        if _BARE.fullmatch(value):
            return f'${value}'
        text = _EITHER.sub(lambda found: f'${found[0]}', value)
        return f'${text}' if _LIKE_FILE.match(text) else text
    if isinstance(value, list):
        return [escape_references(each) for each in value]
    if isinstance(value, dict):
        return {key: escape_references(each) for key, each in value.items()}
    return value


def is_reference(value: object) -> bool:
    """Whether a reference stands in the value, at any depth; Zato's forms do not count."""
    if isinstance(value, str):
        return value.startswith(_FILE) or any(not found[1] for found in _PLACEHOLDER.finditer(value))
    return any(is_reference(each) for each in _inside(value))


def has_placeholder(value: object) -> bool:
    """Whether a reference that nobody replaced stands in the value, at any depth: `${NAME}`, or one of Zato's forms."""
    if isinstance(value, str):
        return bool(_EITHER.search(value) or _BARE.fullmatch(value))
    return any(has_placeholder(each) for each in _inside(value))


def is_placeholder(secret: str) -> bool:
    """Whether a text given as a secret is evidently a reference that nobody replaced: as a whole `${NAME}`, `file:` and
    an absolute path, or a variable in Zato's words. `$NAME` may well be a password."""
    return bool(_EVIDENT.fullmatch(secret))


def _add(wrong: list[str], text: str) -> None:
    if text not in wrong:
        wrong.append(text)


def _inside(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list):
        yield from value
