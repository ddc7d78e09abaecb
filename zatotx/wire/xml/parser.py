"""XML 1.0 to a tree and back, on lxml, for documents of people one does not know.

There is no DTD, no entity beyond XML's five, no XInclude; nothing outside of the document is ever looked at. What may
make two readers see two different documents is refused: encodings that do not agree, elements that are null and have
content. Comments and processing instructions are not in the tree and CDATA sections are text, so that every text is
whole (`text_of`).
"""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

from lxml import etree, objectify

from zatotx.wire.malformed import Malformed
from zatotx.wire.xml import budget as xml_budget
from zatotx.wire.xml import markup
from zatotx.wire.xml.budget import NAME_TOO_LONG, USUAL, XmlBudget
from zatotx.wire.xml.encoding import charset_of, to_utf8
from zatotx.wire.xml.name_cache import parsed

__all__ = [
    'LARGE',
    'NIL',
    'USUAL',
    'WEIGHTLESS',
    'XSI',
    'Element',
    'Malformed',
    'PlainElement',
    'XmlBudget',
    'charset_of',
    'is_element',
    'is_nil',
    'local_name',
    'own_tree',
    'parse',
    'text_of',
    'to_bytes',
    'trusted',
]  # fmt: skip

Element = Any  # lxml's; its class depends on what looks at it

XSI = 'http://www.w3.org/2001/XMLSchema-instance'
PYTYPE = 'http://codespeak.net/lxml/objectify/pytype'
NIL = f'{{{XSI}}}nil'
TRUE = frozenset(('true', '1'))
_BLANKS = ' \t\r\n'
_TYPES = (f'{{{XSI}}}type', f'{{{PYTYPE}}}pytype')
LARGE = 256 * 1024  # bytes of a document that is worth a thread
WEIGHTLESS = 4 * 1024  # bytes of a document whose tree is not worth a look at its size
TOO_DEEP = 'elements are nested more than {} deep, the limit here'
TOO_LONG = 'a text has more than {} characters, the limit here'
_LONGEST_PHRASE = 200  # characters: libxml2 repeats names of any length


class _Parser(etree.XMLParser):
    """A parser of one document alone, which so has a look of its own."""


_OBJECTS = objectify.ObjectifyElementClassLookup()
_PARSER = _Parser(
    encoding='utf-8', resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False, collect_ids=False,
    remove_comments=True, remove_pis=True,
)  # fmt: skip
_PARSER.set_element_class_lookup(_OBJECTS)

_STRING: Any = etree.XPath('string()', smart_strings=False)
_INCLUDES = etree.XPath('boolean(//*[namespace-uri() = "http://www.w3.org/2001/XInclude"])')
_SAID = 'normalize-space(@xsi:nil)'
_FULL_NULL: Any = etree.XPath(  # the name of an element that says it is null, and is not
    f'local-name(//*[@xsi:nil][node()][{_SAID} = "true" or {_SAID} = "1"])', namespaces={'xsi': XSI}
)


def parse(data: bytes, charset: str = '', budget: XmlBudget = USUAL) -> Element:
    """The root of a document, as lxml.objectify shows it. `charset`: what the Content-Type says (`charset_of`).

    What is too large, or not accepted here, is found before anything is parsed. xsi:type is taken off, so that it
    changes nobody's reading. Raises Malformed: one sentence, with line and column where they are known.
    """
    data = to_utf8(data, charset)
    xml_budget.check(data, budget)
    markup.check(data)
    try:
        root = trusted(data)
    except etree.XMLSyntaxError as error:
        raise Malformed(_phrase(error, budget)) from None
    parsed(len(data))
    _check_tree(root, data, budget)
    return _without_types(root, data) if b'xmlns:' in data else root


def to_bytes(element: Element) -> bytes:
    """An element as a document in UTF-8, without XML declaration. What lxml.objectify notes about its own objects stays
    behind."""
    data: bytes = etree.tostring(element, encoding='utf-8', with_tail=False)
    if PYTYPE.encode() in data:
        element = copy.deepcopy(element)
        objectify.deannotate(element, xsi=False, cleanup_namespaces=True)
        data = etree.tostring(element, encoding='utf-8', with_tail=False)
    return data


class PlainElement:
    """While it is entered, a parsed document shows plain elements, which cost a fifth of what lxml.objectify's do.

        with Plain(root):
            texts = [child.text for child in root.iterchildren()]

    For a moment without an await, on what `parse` or `own` gave: each document has a parser, and so a look, of its own.
    """

    __slots__ = ('_parser',)

    def __init__(self, root: Element) -> None:
        self._parser = root.getroottree().parser

    def __enter__(self) -> None:
        self._parser.set_element_class_lookup(None)

    def __exit__(self, *_: object) -> None:
        self._parser.set_element_class_lookup(_OBJECTS)


def is_element(value: object) -> bool:
    """Whether it is an element of a tree."""
    return isinstance(value, etree._Element)


def own_tree(element: Element) -> Element:
    """The same element, of a tree that `parse` or we ourselves made: a copy where somebody else did."""
    return element if isinstance(element.getroottree().parser, _Parser) else trusted(to_bytes(element))


def local_name(element: Element) -> str:
    """The name of an element without its namespace."""
    tag: str = element.tag
    return tag.rpartition('}')[2]


def text_of(element: Element) -> str:
    """The text of an element, '' for none: all text that is in it, in the order of the document, without comments and
    processing instructions (the string value of XPath 1.0 §5.2). Every value of a document is read so."""
    text: str = _STRING(element) if element.getchildren() else element.text or ''
    return text


def is_nil(element: Element) -> bool:
    """Whether an element says that it is null (XML Schema 1 §2.6.2)."""
    return element.get(NIL, '').strip(_BLANKS) in TRUE


def trusted(data: bytes) -> Element:
    """The root of a document that we wrote ourselves, in UTF-8."""
    parser: Any = _PARSER.copy()
    return etree.fromstring(data, parser)


def _phrase(error: etree.XMLSyntaxError, budget: XmlBudget) -> str:
    """libxml2's sentence in one line, without its own idea of where."""
    said = ' '.join((error.msg or 'no element was found').rpartition(', line ')[0].split())
    if 'xcessive depth' in said:
        return TOO_DEEP.format(budget.depth)
    if 'ame too long' in said:
        return NAME_TOO_LONG
    if 'XML_PARSE_HUGE' in said:
        return TOO_LONG.format(budget.text)
    if said[1:2].islower():
        said = said[0].lower() + said[1:]
    line, column = error.position
    return f'{said[:_LONGEST_PHRASE]} (line {line}, column {column})'


def _check_tree(root: Element, data: bytes, budget: XmlBudget) -> None:
    """What only the tree tells, each looked at where the size does not rule it out."""
    depth, most = budget.depth, budget.per_element
    if xml_budget.count_elements(data, b'<', 2 * depth) > 2 * depth and _finds(root, '/*' * (depth + 1)):
        raise Malformed(TOO_DEEP.format(depth))
    if xml_budget.may_have_tag(data, most) and _finds(root, f'//*[@*[{most + 1}]]'):
        raise Malformed(f'an element has more than {most} attributes, the limit here')
    if len(data) > budget.text and _finds(root, f'//text()[string-length() > {budget.text}]'):
        raise Malformed(TOO_LONG.format(budget.text))
    if (b'XInclude' in data or b'&#' in data) and _INCLUDES(root):  # a namespace may be written in references
        raise Malformed('XInclude is not accepted here')


def _finds(root: Element, path: str) -> bool:
    return bool(_compiled(path)(root))


@lru_cache(maxsize=16)  # compiling costs more than looking
def _compiled(path: str) -> Any:
    return etree.XPath(f'boolean({path})')


def _without_types(root: Element, data: bytes) -> Element:
    """The document without xsi:type and lxml's own form of it. Raises Malformed for what is null and has content, which
    may not be (XML Schema 1 §3.3.4)."""
    if b':nil' in data and (name := _FULL_NULL(root)):
        raise Malformed(f'the element {name} is null (xsi:nil) and has content')
    if b':type' not in data and b':pytype' not in data:
        return root
    etree.strip_attributes(root, *_TYPES)
    return root if root.find('*') is not None else copy.deepcopy(root)  # its class was chosen by what is gone now
