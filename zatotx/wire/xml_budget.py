"""How much an XML document holds, found out before it is parsed, for what counting bytes costs.

A megabyte of `<a/>` becomes a hundred megabytes of tree, and so does one element with a million attributes. What is
counted here stands as such in every well-formed document, so that nothing is parsed that has more of it.
"""

from __future__ import annotations

import re

import msgspec

from zatotx.wire.malformed import Malformed

DEEPEST = 250  # libxml2 itself goes no deeper than 256
LONGEST_TEXT = 10_000_000  # nor has it texts that are longer, in bytes

_ATTRIBUTE, _NAMESPACE = len(' a=""'), len(' xmlns=""')  # bytes of the shortest ones
_DECLARATION = re.compile(rb"""xmlns(?::[^\s=<>"']*)?\s*=\s*(?:"[^"<]*"|'[^'<]*')""")


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What one XML document may hold."""

    depth: int = 100  # of elements within each other
    elements: int = 600_000  # some 150 MB of tree
    attributes: int = 250_000  # of all elements together
    per_element: int = 256  # attributes of one element
    namespaces: int = 1_000  # different declarations
    text: int = LONGEST_TEXT  # bytes of one text or attribute value


USUAL = Budget()


def check(data: bytes, budget: Budget) -> None:
    """Raises Malformed where a document in UTF-8 has more elements, attributes or namespaces than it may.

    Comments, CDATA sections and processing instructions count as elements, being nodes as well."""
    size, most = len(data), budget.elements
    if size > most and has_more_elements(data, most):
        raise Malformed(f'there are more than {most} elements, the limit here')
    if size > budget.namespaces * _NAMESPACE and _has_more_namespaces(data, budget.namespaces):
        raise Malformed(f'there are more than {budget.namespaces} namespace declarations, the limit here')
    if size > budget.attributes * _ATTRIBUTE and _has_more_attributes(data, budget.attributes):
        raise Malformed(f'there are more than {budget.attributes} attributes, the limit here')


def has_more_elements(data: bytes, most: int) -> bool:
    """Whether there are more than `most` elements, of which each opens a bracket and most open two."""
    opening = data.count(b'<')
    return opening > most and (opening > 2 * most or opening - data.count(b'</') > most)


def _has_more_namespaces(data: bytes, most: int) -> bool:
    """Of the same declarations, repeated from element to element, one counts."""
    if data.count(b'xmlns') <= most:
        return False
    found: set[bytes] = set()
    for match in _DECLARATION.finditer(data):
        found.add(match[0])
        if len(found) > most:
            return True
    return False


def _has_more_attributes(data: bytes, most: int) -> bool:
    """Counted as the equals signs inside of tags, of which there are at least as many: those of markup in CDATA, and of
    text before a `>` that ends no tag, count too."""
    if data.count(b'=') <= most:
        return False
    found = 0
    for tag in data.split(b'<'):
        found += tag.count(b'=', 0, tag.rfind(b'>') + 1 or len(tag))
        if found > most:
            return True
    return False
