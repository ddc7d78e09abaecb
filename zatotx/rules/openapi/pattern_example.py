"""A text that a regular expression matches: for examples in documents. Pure.

Goes by the standard library's own parser, so that it understands what `re` does; what it cannot build (look-arounds,
back references) has no example. The result is always tried with `re` before it is given out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from re import _constants as sre, _parser as parser  # type: ignore[attr-defined]  # isort: skip

_CATEGORIES = {
    sre.CATEGORY_DIGIT: '1',
    sre.CATEGORY_NOT_DIGIT: 'a',
    sre.CATEGORY_WORD: 'a',
    sre.CATEGORY_NOT_WORD: '-',
    sre.CATEGORY_SPACE: ' ',
    sre.CATEGORY_NOT_SPACE: 'a',
}
_LIKED = 'abcABC123 -_.@/'  # what stands for «anything but»
_MOST = 10_000  # characters that a repetition may come to


class NoExample(ValueError):  # noqa: N818 - what there is
    """No value can be made for it."""


def example_matching(pattern: str) -> str:
    """A text in which `re.search` finds the pattern. Raises NoExample."""
    try:
        found: str = ''.join(_pieces(parser.parse(pattern)))
    except (re.error, RecursionError, OverflowError):
        raise NoExample(f'the pattern {pattern!r} cannot be read') from None
    if not re.search(pattern, found):
        raise NoExample(f'no text for the pattern {pattern!r} is known')
    return found


def _pieces(parsed: Iterable[Any]) -> Iterator[str]:
    for operation, value in parsed:
        yield str(_piece(operation, value))


def _piece(operation: Any, value: Any) -> str:
    if operation is sre.LITERAL:
        return chr(value)
    if operation is sre.NOT_LITERAL:
        return next(one for one in _LIKED if ord(one) != value)
    if operation is sre.ANY:
        return 'a'
    if operation is sre.IN:
        return _member(value)
    if operation is sre.AT:
        return ''
    if operation is sre.BRANCH:
        return ''.join(_pieces(value[1][0]))
    if operation is sre.SUBPATTERN:
        return ''.join(_pieces(value[-1]))
    if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        least, most, below = value
        times: int = max(least, 1 if most else 0)
        once = ''.join(_pieces(below))
        if times * len(once) > _MOST:
            raise NoExample('it wants too long a text')
        return once * times
    raise NoExample(f'{operation} is not understood')




def _member(choices: list[tuple[Any, Any]]) -> str:
    """A character of a set."""
    if choices[0][0] is sre.NEGATE:
        excluded = re.compile('[' + ''.join(map(_as_class, choices[1:])) + ']')
        for one in _LIKED:
            if not excluded.match(one):
                return one
        raise NoExample('the set leaves nothing')
    operation, value = choices[0]
    if operation is sre.LITERAL:
        return chr(value)
    if operation is sre.RANGE:
        return chr(value[0])
    return str(_CATEGORIES[value])


_CLASSES = {
    sre.CATEGORY_DIGIT: r'\d',
    sre.CATEGORY_NOT_DIGIT: r'\D',
    sre.CATEGORY_WORD: r'\w',
    sre.CATEGORY_NOT_WORD: r'\W',
    sre.CATEGORY_SPACE: r'\s',
    sre.CATEGORY_NOT_SPACE: r'\S',
}


def _as_class(choice: tuple[Any, Any]) -> str:
    """One member of a set as it is written between brackets."""
    operation, value = choice
    if operation is sre.LITERAL:
        return re.escape(chr(value))
    if operation is sre.RANGE:
        return f'{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}'
    return _CLASSES[value]
