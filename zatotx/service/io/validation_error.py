"""Mistakes of values: how they are carried up, and how they are worded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final


class NotGiven:
    """The type of NOT_GIVEN."""

    __slots__ = ()

    def __repr__(self) -> str:
        return 'NOT_GIVEN'

    def __bool__(self) -> bool:
        return False


NOT_GIVEN: Final = NotGiven()  # None is a value


class ValidationError(Exception):
    """A value that is not what was declared: every mistake in it as (path below the value, what is wrong).

    The path is '' for the value itself, `.qty` for a key, `[3]` for an item.
    """

    def __init__(self, mistakes: list[tuple[str, str]]) -> None:
        super().__init__(mistakes)
        self.mistakes = mistakes


_KINDS: dict[type, str] = {bool: 'bool', int: 'int', float: 'float', str: 'str', type(None): 'null', bytes: 'bytes'}


def json_kind(value: Any) -> str:
    """The kind of a value in the words of an error: bool, int, float, str, null, array, object, else its type."""
    known = _KINDS.get(type(value))
    if known is not None:
        return known
    if isinstance(value, Mapping):
        return 'object'
    if isinstance(value, (list, tuple, set, frozenset)):
        return 'array'
    return type(value).__name__
