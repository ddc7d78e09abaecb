"""The configured lxml parsers and serializers of `wire.xml.parser`. Only that module imports this module, when lxml is
first needed, because lxml takes 5 MB of memory and 20 ms to import.
"""

from __future__ import annotations

from typing import Any

from lxml import etree, objectify

__all__ = ['INCLUDES', 'NONEMPTY_NIL', 'OBJECTIFY_LOOKUP', 'PARSER', 'STRING', 'DocumentParser', 'etree', 'objectify']


class DocumentParser(etree.XMLParser):
    """An lxml parser for a single document, so that each document has its own element class lookup."""


OBJECTIFY_LOOKUP = objectify.ObjectifyElementClassLookup()
PARSER = DocumentParser(
    encoding='utf-8', resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, collect_ids=False,
    remove_comments=True, remove_pis=True,
)  # fmt: skip
PARSER.set_element_class_lookup(OBJECTIFY_LOOKUP)

STRING: Any = etree.XPath('string()', smart_strings=False)
INCLUDES: Any = etree.XPath('boolean(//*[namespace-uri() = "http://www.w3.org/2001/XInclude"])')
_NIL_VALUE = 'normalize-space(@xsi:nil)'
NONEMPTY_NIL: Any = etree.XPath(  # name of an element with xsi:nil and content
    f'local-name(//*[@xsi:nil][node()][{_NIL_VALUE} = "true" or {_NIL_VALUE} = "1"])',
    namespaces={'xsi': 'http://www.w3.org/2001/XMLSchema-instance'},
)
