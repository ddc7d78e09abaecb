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

_DECLARATION = re.compile(rb"""xmlns(?::[^\s=<>"']*)?\s*=\s*(?:"[^"<]*"|'[^'<]*')""")


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What one XML document may hold."""

    depth: int = 100  # of elements within each other
    elements: int = 250_000
    attributes: int = 100_000  # of all elements together
    per_element: int = 256  # attributes of one element
    namespaces: int = 1_000  # different declarations
    text: int = LONGEST_TEXT  # bytes of one text or attribute value


USUAL = Budget()


def check(data: bytes, budget: Budget) -> None:
    """Raises Malformed where a document in UTF-8 has more elements, attributes or namespaces than it may.

    Comments, CDATA sections and processing instructions count as elements, being nodes as well."""
    opening, most = data.count(b'<'), budget.elements
    if opening > most and (opening > 2 * most or opening - data.count(b'</') > most):
        raise Malformed(f'there are more than {most} elements, the limit here')
    equals = data.count(b'=')
    if equals > budget.namespaces and _has_more_namespaces(data, budget.namespaces):
        raise Malformed(f'there are more than {budget.namespaces} namespace declarations, the limit here')
    if equals > budget.attributes and _attributes(data) > budget.attributes:
        raise Malformed(f'there are more than {budget.attributes} attributes, the limit here')


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


def _attributes(data: bytes) -> int:
    """The equals signs inside of tags, which are at least as many as there are attributes: those of markup in CDATA,
    and of text before a `>` that ends no tag, count too."""
    return sum(tag.count(b'=', 0, tag.rfind(b'>') + 1 or len(tag)) for tag in data.split(b'<'))
