"""Limits the number of elements, attributes and namespaces of XML documents, by counting bytes before parsing.

A megabyte of `<a/>` becomes a tree of a hundred megabytes, and so does one element with a million attributes. What is
counted here occurs literally in every well-formed document, so that documents over a limit are never parsed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice
from math import inf
from operator import itemgetter

import msgspec

from zatotx.wire.malformed import Malformed

MAX_DEPTH = 250  # libxml2's own limit is 256
MAX_TEXT_SIZE = 10_000_000  # bytes: libxml2's own limit

MAX_NAME_SIZE = 50_000  # bytes: libxml2's own limit, though it reads the whole name slowly before it reports the error
NAME_TOO_LONG = f'a name has more than {MAX_NAME_SIZE} bytes, the limit here'
WINDOW = 64 * 1024  # bytes processed by one call, which holds the interpreter's lock and can block the reactor

_MIN_ATTRIBUTE_SIZE, _MIN_NAMESPACE_SIZE = len(' a=""'), len(' xmlns=""')  # minimum bytes of each
_PER_BRACKET, _PER_ATTRIBUTE = 130, 200  # bytes of memory
_DECLARATION = re.compile(rb"""xmlns(?::[^\s=<>"']*)?\s*=\s*(?:"[^"<]*"|'[^'<]*')""")
_WHOLE_MATCH: Callable[[re.Match[bytes]], bytes] = itemgetter(0)
_BATCH_SIZE = 4096  # declarations
_OTHER_BYTES = bytes(code for code in range(256) if code not in b'<=>')
_TEXT_EQUALS = re.compile(rb'>=+(?=<|\Z)')
# distance of the positions where long names are searched, and number of bytes examined first
_STEP, _PROBE = 256 * 1024, 64
_MAX_QUOTES = 1_000  # maximum number of quotes of a tag for which its values are skipped
_NON_NAME_CHARACTER = re.compile(rb"""[\s<=>/"'&;]""")
_VALUE = re.compile(rb""""[^"]*"|'[^']*'""")


class XmlLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one XML document."""

    depth: int = 100  # nesting of elements
    elements: int = 600_000  # about 150 MB of tree
    attributes: int = 250_000  # total of all elements
    per_element: int = 256  # attributes of one element
    namespaces: int = 1_000  # distinct declarations
    text: int = MAX_TEXT_SIZE  # bytes of one text or attribute value


DEFAULT_BUDGET = XmlLimits()


def check_document_limits(data: bytes, budget: XmlLimits) -> None:
    """Raise Malformed if a UTF-8 document has too many elements, attributes or namespaces, or if a name is too long.

    Comments, CDATA sections and processing instructions count as elements, since they are nodes too.
    """
    size, max_elements = len(data), budget.elements
    if size > max_elements and has_more_elements(data, max_elements):
        raise Malformed(f'there are more than {max_elements} elements, the limit here')
    if size > budget.attributes * _MIN_ATTRIBUTE_SIZE and _has_more_attributes(data, budget.attributes):
        raise Malformed(f'there are more than {budget.attributes} attributes, the limit here')
    if size > budget.namespaces * _MIN_NAMESPACE_SIZE and _has_more_namespaces(data, budget.namespaces):
        raise Malformed(f'there are more than {budget.namespaces} namespace declarations, the limit here')
    if size > 2 * _STEP and _has_longer_name(data):
        raise Malformed(NAME_TOO_LONG)


def count_occurrences(data: bytes, pattern: bytes, stop_above: float = inf) -> int:
    """Count the occurrences of `pattern` in a document. If the count exceeds `stop_above`, the function may stop."""
    if len(data) <= WINDOW:
        return data.count(pattern)
    count = 0
    for start in range(0, len(data), WINDOW):
        count += data.count(pattern, start, start + WINDOW + len(pattern) - 1)
        if count > stop_above:
            break
    return count


def estimate_tree_size(data: bytes, budget: XmlLimits) -> int:
    """Estimate how many bytes of memory a document's tree takes, based on measurements of lxml. Returns 0 for a
    document with so many elements that `check_document_limits` rejects it, because such a document is never parsed."""
    stop_above = 2 * budget.elements
    brackets = count_occurrences(data, b'<', stop_above)
    if brackets > stop_above:
        return 0
    attributes = min(count_occurrences(data, b'=', budget.attributes), budget.attributes)
    return len(data) + _PER_BRACKET * brackets + _PER_ATTRIBUTE * attributes


def may_exceed_attributes(data: bytes, max_attributes: int) -> bool:
    """Return whether a tag may have more than `max_attributes` attributes, estimated by counting the `=` and `>`
    characters between two `<` characters."""
    if count_occurrences(data, b'=', max_attributes) <= max_attributes:
        return False
    pattern = _many_attributes_pattern(max_attributes + 1)
    return any(pattern.search(window.translate(None, _OTHER_BYTES)) for window in _windows(data))


@lru_cache(maxsize=16)
def _many_attributes_pattern(count: int) -> re.Pattern[bytes]:
    return re.compile(b'[=>]{%d}' % count)


def has_more_elements(data: bytes, max_elements: int) -> bool:
    """Return whether a document may have more than `max_elements` elements. The number is estimated from the number of
    opening brackets `<`, of which an element has one or two."""
    opening = count_occurrences(data, b'<', 2 * max_elements)
    return opening > max_elements and (
        opening > 2 * max_elements or opening - count_occurrences(data, b'</', opening) > max_elements
    )


def _windows(data: bytes) -> Iterator[bytes]:
    """Yield the document in pieces, none of which ends inside a tag."""
    start = 0
    while start < len(data):
        end = data.find(b'<', start + WINDOW)
        yield data[start : end if end > 0 else len(data)]
        start = end if end > 0 else len(data)


def _has_more_namespaces(data: bytes, max_namespaces: int) -> bool:
    """Return whether there are more distinct namespace declarations; repeated ones count once."""
    if count_occurrences(data, b'xmlns', max_namespaces) <= max_namespaces:
        return False
    distinct: set[bytes] = set()
    declarations = map(_WHOLE_MATCH, _DECLARATION.finditer(data))
    while batch := set(islice(declarations, _BATCH_SIZE)):
        distinct |= batch
        if len(distinct) > max_namespaces:
            return True
    return False


def _has_more_attributes(data: bytes, max_attributes: int) -> bool:
    """Return whether there are more attributes, counted as equals signs inside tags. Those in CDATA sections, and in
    text before a `>` outside tags, count as well."""
    if count_occurrences(data, b'=', max_attributes) <= max_attributes:
        return False
    count = 0
    for window in _windows(data):
        count += _TEXT_EQUALS.sub(b'', window.translate(None, _OTHER_BYTES)).count(b'=')
        if count > max_attributes:
            return True
    return False


def _has_longer_name(data: bytes) -> bool:
    """Return whether there is a name so long that parsing it would be slow, by examining regular positions. Names after
    comments or CDATA sections, or late in a long tag, are left to the parser."""
    end = data.find(b'!')
    for position in range(_STEP, len(data) if end < 0 else end, _STEP):
        if _NON_NAME_CHARACTER.search(data, position, position + _PROBE) is None and _is_longer_name(data, position):
            return True
    return False


def _is_longer_name(data: bytes, position: int) -> bool:
    """Return whether the text at a position is part of a tag, not of an attribute value, and too long a name."""
    opening = data.rfind(b'<', max(0, position - 2 * _STEP), position)
    if opening < 0:
        return False
    tag = data[opening:position]
    quotes = tag.count(b'"') + tag.count(b"'")
    if quotes > _MAX_QUOTES:
        return False
    if quotes:
        tag = _VALUE.sub(b'', tag)
    boundary = _NON_NAME_CHARACTER.search(tag[::-1])
    if boundary is None or b'>' in tag or b'"' in tag or b"'" in tag:
        return False
    end = position + max(0, MAX_NAME_SIZE - boundary.start()) + 1
    return end <= len(data) and _NON_NAME_CHARACTER.search(data, position, end) is None
