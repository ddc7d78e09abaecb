"""Parses untrusted XML 1.0 to lxml trees, and serializes trees.

No DTDs, no entities beyond the five of XML, no XInclude, no external resources. What programs might interpret
differently is rejected: conflicting encodings, null elements with content. Comments and processing instructions are
removed and CDATA sections become text, so that every text is complete (`text_of`).
"""

from __future__ import annotations

import copy
import re
import sys
from functools import cache, lru_cache
from typing import Any

from zatotx.wire.malformed import Malformed
from zatotx.wire.xml import document_limits as xml_budget
from zatotx.wire.xml import libxml2_name_cache
from zatotx.wire.xml.document_limits import DEFAULT_BUDGET, NAME_TOO_LONG, XmlLimits
from zatotx.wire.xml.encoding import content_type_charset, error_position, to_utf8

__all__ = [
    'CHECK_THRESHOLD',
    'DEFAULT_BUDGET',
    'NIL',
    'PYTYPE',
    'THREAD_THRESHOLD',
    'TOO_DEEP',
    'TOO_LONG',
    'TRUE',
    'XSI',
    'Element',
    'Malformed',
    'PlainLxmlElements',
    'XmlLimits',
    'content_type_charset',
    'ensure_own_tree',
    'is_element',
    'is_lxml_loaded',
    'is_nil',
    'load_lxml',
    'local_name',
    'parse_document',
    'parse_trusted',
    'reject_dtd',
    'serialize_document',
    'text_of',
]


# Rejects document type declarations (DTDs), which are searched in the bytes before parsing.
#
# Entities, external subsets and default attributes all require a DTD. Comments, processing instructions and CDATA
# sections are accepted anywhere: the parser removes the first two and converts the third to text, so that values are
# complete.

_DTD = b'<!DOCTYPE'  # XML 1.0 §2.8: case-sensitive
_COMMENT, _INSTRUCTION = b'<!--', b'<?'
# What may precede it, in bounded steps, since a call holds the interpreter's lock. Longer items are skipped one by one.
_SHORT = re.compile(rb'(?:[ \t\r\n]{1,9999}+|<!--(?:[^-]|-(?!->)){0,99}+-->|<\?(?:[^?]|\?(?!>)){0,99}+\?>){1,99}+')


def reject_dtd(data: bytes) -> None:
    """Raise Malformed if a UTF-8 document has a DTD. The check takes linear time. Invalid XML passes, because the
    parser reports better errors.

    A DTD can only precede the root (XML 1.0 §2.8): after it the same characters are data or not well-formed.
    """
    if _DTD in data:
        position = _end_of_misc(data)
        if data.startswith(_DTD, position):
            where = error_position(data, position)
            raise Malformed(f'a document type declaration (DTD) is not accepted here ({where})')


def _end_of_misc(data: bytes) -> int:
    """Return the position after the XML declaration, comments, processing instructions and white space at the start."""
    position = 0
    while True:
        if short := _SHORT.match(data, position):
            position = short.end()
        elif data.startswith(_COMMENT, position):
            position = _position_after(data, b'-->', position + len(_COMMENT))
        elif data.startswith(_INSTRUCTION, position):
            position = _position_after(data, b'?>', position + len(_INSTRUCTION))
        else:
            return position


def _position_after(data: bytes, mark: bytes, start: int) -> int:
    """Return the position after the next mark; the end of the data if there is none."""
    index = data.find(mark, start)
    return len(data) if index < 0 else index + len(mark)


Element = Any  # lxml's; the class depends on the element class lookup

XSI = 'http://www.w3.org/2001/XMLSchema-instance'
PYTYPE = 'http://codespeak.net/lxml/objectify/pytype'
NIL = f'{{{XSI}}}nil'
TRUE = frozenset(('true', '1'))
_BLANKS = ' \t\r\n'
_TYPES = (f'{{{XSI}}}type', f'{{{PYTYPE}}}pytype')
THREAD_THRESHOLD = 256 * 1024  # minimum document size in bytes for which a thread pays off
CHECK_THRESHOLD = 4 * 1024  # document size in bytes up to which the memory of its tree is not estimated
TOO_DEEP = 'elements are nested more than {} deep, the limit here'
TOO_LONG = 'a text has more than {} characters, the limit here'
_MAX_MESSAGE_LENGTH = 200  # maximum number of characters, since libxml2 repeats names of any length


_MODULES = sys.modules


@cache
def load_lxml() -> Any:
    """Import lxml, and return the module lxml_parsers with its configured objects. The parsing functions call this
    function themselves. A component that will parse XML can call it earlier, while no request waits."""
    from zatotx.wire.xml import lxml_parsers

    libxml2_name_cache.check_name_release()
    return lxml_parsers


def is_lxml_loaded() -> bool:
    """Return whether lxml is loaded, that is, whether `load_lxml` was called."""
    return load_lxml.cache_info().currsize > 0


def parse_document(data: bytes, charset: str = '', budget: XmlLimits = DEFAULT_BUDGET) -> Element:
    """Parse a document and return its root as an lxml.objectify element. `charset` is the charset of the Content-Type
    (`content_type_charset`).

    Limits are checked before parsing where possible. Removes xsi:type, so that it cannot affect the interpretation.
    Raises Malformed: one sentence, with line and column if known.
    """
    data = to_utf8(data, charset)
    xml_budget.check_document_limits(data, budget)
    reject_dtd(data)
    try:
        root = parse_trusted(data)
    except load_lxml().etree.XMLSyntaxError as error:
        raise Malformed(_describe_error(error, budget)) from None
    libxml2_name_cache.count_parsed_document(len(data))
    _check_tree(root, data, budget)
    return _strip_types(root, data) if b'xmlns:' in data else root


def serialize_document(element: Element) -> bytes:
    """Serialize an element as a UTF-8 document, without XML declaration and without the annotations of
    lxml.objectify."""
    data: bytes = load_lxml().etree.tostring(element, encoding='utf-8', with_tail=False)
    if PYTYPE.encode() in data:
        element = copy.deepcopy(element)
        load_lxml().objectify.deannotate(element, xsi=False, cleanup_namespaces=True)
        data = load_lxml().etree.tostring(element, encoding='utf-8', with_tail=False)
    return data


class PlainLxmlElements:
    """A context manager that makes a parsed document return plain lxml elements, at a fifth of the cost of
    lxml.objectify's elements.

        with PlainLxmlElements(root):
            texts = [child.text for child in root.iterchildren()]

    Use it without an await inside, on the results of `parse` or `own_tree`: each document has its own parser and
    lookup.
    """

    __slots__ = ('_parser',)

    def __init__(self, root: Element) -> None:
        self._parser = root.getroottree().parser

    def __enter__(self) -> None:
        self._parser.set_element_class_lookup(None)

    def __exit__(self, *_: object) -> None:
        self._parser.set_element_class_lookup(load_lxml().OBJECTIFY_LOOKUP)


def is_element(value: object) -> bool:
    """Return whether a value is an lxml element. The result is False if lxml has not been imported."""
    element_type = getattr(_MODULES.get('lxml.etree'), '_Element', None)
    return element_type is not None and isinstance(value, element_type)


def ensure_own_tree(element: Element) -> Element:
    """Return the element unchanged if this module parsed its tree, otherwise return a copy that is parsed by this
    module."""
    is_own = isinstance(element.getroottree().parser, load_lxml().DocumentParser)
    return element if is_own else parse_trusted(serialize_document(element))


def local_name(element: Element) -> str:
    """Return the name of an element without its namespace."""
    tag: str = element.tag
    return tag.rpartition('}')[2]


def text_of(element: Element) -> str:
    """Return the text of an element and its descendants in document order, without comments and processing instructions
    (the string value of XPath 1.0 §5.2), or '' for none. All values of a document are read with this function."""
    text: str = load_lxml().STRING(element) if element.getchildren() else element.text or ''
    return text


def is_nil(element: Element) -> bool:
    """Return whether an element is marked as null by xsi:nil (XML Schema 1 §2.6.2)."""
    return element.get(NIL, '').strip(_BLANKS) in TRUE


def parse_trusted(data: bytes) -> Element:
    """Parse a trusted UTF-8 document and return its root."""
    lxml = load_lxml()
    return lxml.etree.fromstring(data, lxml.PARSER.copy())


def _describe_error(error: Any, budget: XmlLimits) -> str:
    """Return libxml2's error message in one line, with the position from the error."""
    message = ' '.join((error.msg or 'no element was found').rpartition(', line ')[0].split())
    if 'xcessive depth' in message:
        return TOO_DEEP.format(budget.depth)
    if 'ame too long' in message:
        return NAME_TOO_LONG
    if 'XML_PARSE_HUGE' in message:
        return TOO_LONG.format(budget.text)
    if message[1:2].islower():
        message = message[0].lower() + message[1:]
    line, column = error.position
    return f'{message[:_MAX_MESSAGE_LENGTH]} (line {line}, column {column})'


def _check_tree(root: Element, data: bytes, budget: XmlLimits) -> None:
    """Check the limits that require the tree, unless the document's size rules a violation out."""
    depth, max_attributes = budget.depth, budget.per_element
    if xml_budget.count_occurrences(data, b'<', 2 * depth) > 2 * depth and _finds(root, '/*' * (depth + 1)):
        raise Malformed(TOO_DEEP.format(depth))
    if xml_budget.may_exceed_attributes(data, max_attributes) and _finds(root, f'//*[@*[{max_attributes + 1}]]'):
        raise Malformed(f'an element has more than {max_attributes} attributes, the limit here')
    if len(data) > budget.text and _finds(root, f'//text()[string-length() > {budget.text}]'):
        raise Malformed(TOO_LONG.format(budget.text))
    # a namespace may be written with character references
    if (b'XInclude' in data or b'&#' in data) and load_lxml().INCLUDES(root):
        raise Malformed('XInclude is not accepted here')


def _finds(root: Element, path: str) -> bool:
    return bool(_compiled(path)(root))


@lru_cache(maxsize=16)  # compiling costs more than searching
def _compiled(path: str) -> Any:
    return load_lxml().etree.XPath(f'boolean({path})')


def _strip_types(root: Element, data: bytes) -> Element:
    """Remove xsi:type and lxml's equivalent from the document. Raises Malformed for null elements with content (XML
    Schema 1 §3.3.4)."""
    if b':nil' in data and (name := load_lxml().NONEMPTY_NIL(root)):
        raise Malformed(f'the element {name} is null (xsi:nil) and has content')
    if b':type' not in data and b':pytype' not in data:
        return root
    load_lxml().etree.strip_attributes(root, *_TYPES)
    return root if root.find('*') is not None else copy.deepcopy(root)  # its class was selected by a removed attribute
