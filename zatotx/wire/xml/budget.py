"""How much an XML document holds, found out before it is parsed, for what counting bytes costs.

A megabyte of `<a/>` becomes a hundred megabytes of tree, and so does one element with a million attributes. What is
counted here stands as such in every well-formed document, so that nothing is parsed that has more of it.
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

DEEPEST = 250  # libxml2 itself goes no deeper than 256
LONGEST_TEXT = 10_000_000  # nor has it texts that are longer, in bytes

LONGEST_NAME = 50_000  # nor longer names, in bytes, though it reads all of one, slowly, before it says so
NAME_TOO_LONG = f'a name has more than {LONGEST_NAME} bytes, the limit here'
WINDOW = 64 * 1024  # bytes that one call looks at: it keeps the interpreter's lock, for which the reactor may wait

_ATTRIBUTE, _NAMESPACE = len(' a=""'), len(' xmlns=""')  # bytes of the shortest ones
_PER_BRACKET, _PER_ATTRIBUTE = 130, 200  # bytes of memory
_DECLARATION = re.compile(rb"""xmlns(?::[^\s=<>"']*)?\s*=\s*(?:"[^"<]*"|'[^'<]*')""")
_WHOLE: Callable[[re.Match[bytes]], bytes] = itemgetter(0)
_AT_ONCE = 4096  # declarations
_BESIDE = bytes(code for code in range(256) if code not in b'<=>')
_IN_TEXT = re.compile(rb'>=+(?=<|\Z)')
_STEP, _PROBE = 256 * 1024, 64  # how far apart names are looked for, and how many bytes are looked at first
_MOST_QUOTES = 1_000  # of a tag that is looked through for its values
_NO_NAME = re.compile(rb"""[\s<=>/"'&;]""")
_VALUE = re.compile(rb""""[^"]*"|'[^']*'""")


class XmlBudget(msgspec.Struct, frozen=True, kw_only=True):
    """What one XML document may hold."""

    depth: int = 100  # of elements within each other
    elements: int = 600_000  # some 150 MB of tree
    attributes: int = 250_000  # of all elements together
    per_element: int = 256  # attributes of one element
    namespaces: int = 1_000  # different declarations
    text: int = LONGEST_TEXT  # bytes of one text or attribute value


USUAL = XmlBudget()


def check(data: bytes, budget: XmlBudget) -> None:
    """Raises Malformed where a document in UTF-8 has more elements, attributes or namespaces than it may, or too long a
    name.

    Comments, CDATA sections and processing instructions count as elements, being nodes as well."""
    size, most = len(data), budget.elements
    if size > most and has_more_elements(data, most):
        raise Malformed(f'there are more than {most} elements, the limit here')
    if size > budget.attributes * _ATTRIBUTE and _has_more_attributes(data, budget.attributes):
        raise Malformed(f'there are more than {budget.attributes} attributes, the limit here')
    if size > budget.namespaces * _NAMESPACE and _has_more_namespaces(data, budget.namespaces):
        raise Malformed(f'there are more than {budget.namespaces} namespace declarations, the limit here')
    if size > 2 * _STEP and _has_longer_name(data):
        raise Malformed(NAME_TOO_LONG)


def count_elements(data: bytes, what: bytes, most: float = inf) -> int:
    """How many times something stands in a document; where it is more than `most`, as many as were seen by then."""
    if len(data) <= WINDOW:
        return data.count(what)
    found = 0
    for start in range(0, len(data), WINDOW):
        found += data.count(what, start, start + WINDOW + len(what) - 1)
        if found > most:
            break
    return found


def tree_size(data: bytes, budget: XmlBudget) -> int:
    """About how many bytes of memory the tree of a document takes, as lxml's trees were measured. A bracket begins or
    ends an element, mostly with a text behind it; an attribute is two nodes. 0 for a document that has so many elements
    that `check` refuses it: it never becomes a tree."""
    most = 2 * budget.elements
    brackets = count_elements(data, b'<', most)
    if brackets > most:
        return 0
    attributes = min(count_elements(data, b'=', budget.attributes), budget.attributes)
    return len(data) + _PER_BRACKET * brackets + _PER_ATTRIBUTE * attributes


def may_have_tag(data: bytes, most: int) -> bool:
    """Whether one tag may have more attributes than that: there are so many equals signs, or ends of tags, from one
    bracket to the next."""
    if count_elements(data, b'=', most) <= most:
        return False
    crowded = _crowded(most + 1)
    return any(crowded.search(window.translate(None, _BESIDE)) for window in _windows(data))


@lru_cache(maxsize=16)
def _crowded(many: int) -> re.Pattern[bytes]:
    return re.compile(b'[=>]{%d}' % many)


def has_more_elements(data: bytes, most: int) -> bool:
    """Whether there are more than `most` elements, of which each opens a bracket and most open two."""
    opening = count_elements(data, b'<', 2 * most)
    return opening > most and (opening > 2 * most or opening - count_elements(data, b'</', opening) > most)


def _windows(data: bytes) -> Iterator[bytes]:
    """The document in pieces, none of which ends inside a tag."""
    start = 0
    while start < len(data):
        end = data.find(b'<', start + WINDOW)
        yield data[start : end if end > 0 else len(data)]
        start = end if end > 0 else len(data)


def _has_more_namespaces(data: bytes, most: int) -> bool:
    """Of the same declarations, repeated from element to element, one counts."""
    if count_elements(data, b'xmlns', most) <= most:
        return False
    found: set[bytes] = set()
    declarations = map(_WHOLE, _DECLARATION.finditer(data))
    while some := set(islice(declarations, _AT_ONCE)):
        found |= some
        if len(found) > most:
            return True
    return False


def _has_more_attributes(data: bytes, most: int) -> bool:
    """Counted as the equals signs inside of tags, of which there are at least as many: those of markup in CDATA, and of
    text before a `>` that ends no tag, count too."""
    if count_elements(data, b'=', most) <= most:
        return False
    found = 0
    for window in _windows(data):
        found += _IN_TEXT.sub(b'', window.translate(None, _BESIDE)).count(b'=')
        if found > most:
            return True
    return False


def _has_longer_name(data: bytes) -> bool:
    """Whether there is a name so long that the parser, which finds the others, takes its time: it stands wherever one
    looks. One that comes after markup which may hold anything, or late in a long tag, is left to the parser."""
    end = data.find(b'!')
    for at in range(_STEP, len(data) if end < 0 else end, _STEP):
        if _NO_NAME.search(data, at, at + _PROBE) is None and _is_longer_name(data, at):
            return True
    return False


def _is_longer_name(data: bytes, at: int) -> bool:
    """Whether what stands there is a part of a tag, of no value in it, and too long."""
    opening = data.rfind(b'<', max(0, at - 2 * _STEP), at)
    if opening < 0:
        return False
    tag = data[opening:at]
    quotes = tag.count(b'"') + tag.count(b"'")
    if quotes > _MOST_QUOTES:
        return False
    if quotes:
        tag = _VALUE.sub(b'', tag)
    before = _NO_NAME.search(tag[::-1])
    if before is None or b'>' in tag or b'"' in tag or b"'" in tag:
        return False
    end = at + max(0, LONGEST_NAME - before.start()) + 1
    return end <= len(data) and _NO_NAME.search(data, at, end) is None
