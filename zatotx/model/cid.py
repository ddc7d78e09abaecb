"""Correlation ids: one name for a request wherever it goes."""

from __future__ import annotations

from os import urandom

_SAFE = frozenset('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.')
SHORTEST, LONGEST = 8, 64


def new_cid() -> str:
    """A fresh correlation id as Zato 3.x makes them: 24 hex digits, 96 random bits."""
    return urandom(12).hex()


def accepted_cid(text: str | None) -> str | None:
    """The caller's own cid where it may be kept (8 to 64 letters, digits, `-`, `_`, `.`), else None."""
    if text is None or not SHORTEST <= len(text) <= LONGEST:
        return None
    return text if _SAFE.issuperset(text) else None
