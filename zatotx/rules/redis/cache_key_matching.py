"""Selects cache keys by a condition on their text, such as a common prefix or a regular expression."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

Matcher = Callable[[str], bool]


def _by_regex(pattern: str) -> Matcher:
    try:
        match = re.compile(pattern).match
    except re.error as error:
        raise ValueError(f'The pattern {pattern!r} of cache keys is not a regular expression: {error}') from None
    return lambda key: match(key) is not None


def _texts(parts: Sequence[str]) -> tuple[str, ...]:
    return (parts,) if isinstance(parts, str) else tuple(parts)


def _contains_all(parts: Sequence[str]) -> Matcher:
    texts = _texts(parts)
    return lambda key: all(text in key for text in texts)


def _contains_any(parts: Sequence[str]) -> Matcher:
    texts = _texts(parts)
    return lambda key: any(text in key for text in texts)


# The suffixes of the names of methods, as in get_by_prefix or delete_contains.
SELECTIONS: dict[str, Callable[..., Matcher]] = {
    'by_prefix': lambda text: lambda key: key.startswith(text),
    'by_suffix': lambda text: lambda key: key.endswith(text),
    'by_regex': _by_regex,
    'contains': lambda text: lambda key: text in key,
    'not_contains': lambda text: lambda key: text not in key,
    'contains_all': _contains_all,
    'contains_any': _contains_any,
}


def select_matching_keys(keys: Iterable[str], selection: str, argument: str | Sequence[str]) -> list[str]:
    """Return the keys that match a condition, sorted. Raises ValueError for an invalid regular expression."""
    return sorted(filter(SELECTIONS[selection](argument), keys))
