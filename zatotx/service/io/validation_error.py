"""Defines ValidationError, which reports the errors in a value with their paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final


class NotGivenType:
    """The type of NOT_GIVEN, which marks an absent value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return 'NOT_GIVEN'

    def __bool__(self) -> bool:
        return False


NOT_GIVEN: Final = NotGivenType()  # marks an absent value, as None is a value


class ValidationError(Exception):
    """Raised for a value that does not match its declaration. Each error is a pair of the path in the value and a
    message.

    The path is '' for the value itself, `.qty` for a key, `[3]` for an item.
    """

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        super().__init__(errors)
        self.errors = errors


_KINDS: dict[type, str] = {bool: 'bool', int: 'int', float: 'float', str: 'str', type(None): 'null', bytes: 'bytes'}


def json_type_name(value: Any) -> str:
    """Return the name of a value's JSON type, for error messages.

    It is bool, int, float, str, null, array or object, otherwise the name of the class.
    """
    kind = _KINDS.get(type(value))
    if kind is not None:
        return kind
    if isinstance(value, Mapping):
        return 'object'
    if isinstance(value, (list, tuple, set, frozenset)):
        return 'array'
    return type(value).__name__
