"""Correlation ids: one name for a request wherever it goes."""

from __future__ import annotations

from os import urandom

_SAFE = frozenset('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.')
_HEX = frozenset('0123456789abcdef')
_DIGITS = 24
SHORTEST, LONGEST = 8, 64


_BATCH = 256
_ready: list[str] = []


def new_cid() -> str:
    """A fresh correlation id as Zato 3.x makes them: 24 hex digits, 96 random bits."""
    try:
        return _ready.pop()
    except IndexError:
        # The kernel is asked for many at once: a system call for each would be the dearest part of it.
        digits = urandom(12 * _BATCH).hex()
        _ready.extend(digits[start : start + _DIGITS] for start in range(0, _DIGITS * _BATCH, _DIGITS))
        return _ready.pop()


def is_new_cid(text: object) -> bool:
    """Whether a text has the form of a cid that was made here."""
    return isinstance(text, str) and len(text) == _DIGITS and _HEX.issuperset(text)


def accepted_cid(text: str | None) -> str | None:
    """The caller's own cid where it may be kept (8 to 64 letters, digits, `-`, `_`, `.`), else None."""
    if text is None or not SHORTEST <= len(text) <= LONGEST:
        return None
    return text if _SAFE.issuperset(text) else None
