"""XPath 1.0 over documents of others: one expression, one text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lxml import etree

from zatotx.wire.malformed import Malformed
from zatotx.wire.soap.envelope import NS_11, NS_12
from zatotx.wire.soap.ws_security import WSSE, WSU
from zatotx.wire.xml.parser import XSI, Element, PlainElement, text_of, trusted

__all__ = ['PREFIXES', 'Malformed', 'TextPath']

# What every expression may say; a document's own prefixes are its sender's, and mean nothing.
PREFIXES = {'soap': NS_11, 'soap12': NS_12, 'wsse': WSSE, 'wsu': WSU, 'xsi': XSI}


class TextPath:
    """An expression that leads to one text: that of an element which has nothing else in it, of an attribute, or what
    string() and the like make.

    XPath's own functions are all there is. Raises Malformed, with what is wrong, for what is no expression or gives a
    number or true or false.
    """

    __slots__ = ('_path',)

    def __init__(self, expression: str, namespaces: Mapping[str, str] | None = None) -> None:
        try:
            self._path: Any = etree.XPath(expression, namespaces={**PREFIXES, **(namespaces or {})}, regexp=False,
                                          smart_strings=False)  # fmt: skip
            result = self._path(trusted(b'<a/>'))  # unknown prefixes, functions and variables show only now
        except (etree.XPathError, TypeError, ValueError) as error:
            raise Malformed(f'is no XPath 1.0 that can be used here: {error}') from None
        if not isinstance(result, str | list):
            raise Malformed('gives a number or true or false, not a text')

    def find(self, root: Element) -> str | None:
        """The text; None where there is none, or more than one: of two, who knows which one is meant?"""
        with PlainElement(root):
            found = self._path(root)
            if isinstance(found, list):
                found = found[0] if len(found) == 1 else None
            if found is None or isinstance(found, str):
                return found
            return None if found.getchildren() else text_of(found)
