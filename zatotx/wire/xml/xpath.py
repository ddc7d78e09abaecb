"""XPath 1.0 expressions that extract a single string from an untrusted XML document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lxml import etree

from zatotx.wire.malformed import Malformed
from zatotx.wire.soap.envelope import NS_11, NS_12
from zatotx.wire.soap.ws_security import WSSE, WSU
from zatotx.wire.xml.parser import XSI, Element, PlainLxmlElements, parse_trusted, text_of

__all__ = ['PREFIXES', 'Malformed', 'XPathTextExpression']

# Prefixes available in all expressions; the prefixes in a document are chosen by its sender and have no effect.
PREFIXES = {'soap': NS_11, 'soap12': NS_12, 'wsse': WSSE, 'wsu': WSU, 'xsi': XSI}


class XPathTextExpression:
    """An XPath expression that selects a single string: the text of an element without children, an attribute value, or
    the result of a string function.

    Only XPath's own functions are available. Raises Malformed for an invalid expression, and one that returns a number
    or boolean.
    """

    __slots__ = ('_path',)

    def __init__(self, expression: str, namespaces: Mapping[str, str] | None = None) -> None:
        try:
            self._path: Any = etree.XPath(expression, namespaces={**PREFIXES, **(namespaces or {})}, regexp=False,
                                          smart_strings=False)  # fmt: skip
            result = self._path(parse_trusted(b'<a/>'))  # reports unknown prefixes, functions and variables
        except (etree.XPathError, TypeError, ValueError) as error:
            raise Malformed(f'is no XPath 1.0 that can be used here: {error}') from None
        if not isinstance(result, str | list):
            raise Malformed('gives a number or true or false, not a text')

    def find(self, root: Element) -> str | None:
        """Return the text; None if there is none, or more than one, which would be ambiguous."""
        with PlainLxmlElements(root):
            result = self._path(root)
            if isinstance(result, list):
                result = result[0] if len(result) == 1 else None
            if result is None or isinstance(result, str):
                return result
            return None if result.getchildren() else text_of(result)
