"""Bunch: a dict whose keys are also attributes, compatible with the `bunch` library, which Zato services use."""

from __future__ import annotations

from typing import Any


class Bunch(dict[str, Any]):
    """A dict whose keys are also attributes. Access to a missing attribute raises AttributeError.

    Methods of dict take precedence over keys of the same name: use `b['items']` for those.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __repr__(self) -> str:
        return f'Bunch({dict(self)!r})'

    def copy(self) -> Bunch:
        return Bunch(self)

    def toDict(self) -> dict[str, Any]:
        """Return a copy as plain dicts at all levels."""
        plain: dict[str, Any] = unbunchify(self)
        return plain

    @classmethod
    def fromDict(cls, value: Any) -> Any:
        """Convert a value with `bunchify`."""
        return bunchify(value)


def bunchify(value: Any) -> Any:
    """Return a copy of `value` in which every dict, at any depth of dicts, lists and tuples, is a Bunch."""
    if isinstance(value, dict):
        return Bunch((key, bunchify(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)) and not hasattr(value, '_fields'):
        return type(value)(bunchify(item) for item in value)
    return value


def unbunchify(value: Any) -> Any:
    """Return a copy of `value` in which every Bunch is a plain dict."""
    if isinstance(value, dict):
        return {key: unbunchify(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, '_fields'):
        return type(value)(unbunchify(item) for item in value)
    return value
