"""Tests of the XML writer: the form of values, unsupported values, and elements created by services."""

from __future__ import annotations

import datetime as dt
from collections import OrderedDict, deque
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
from lxml import etree, objectify
from twisted.trial.unittest import SynchronousTestCase

from zatotx.wire.xml.parser import XSI, parse_document, serialize_document
from zatotx.wire.xml.writer import (
    NotRepresentable,
    is_xml_name,
    replace_invalid_characters,
    wrap_in_element,
    wrap_in_root,
    write_document,
    write_error,
)


class Point(msgspec.Struct):
    x: int
    y: Decimal


@dataclass
class Place:
    name: str
    at: Point


class Colour(Enum):
    RED = 'red & hot'


class Size(IntEnum):
    LARGE = 3


class Text(str):
    pass


def written(value: Any, name: str = 'v') -> str:
    """Returns the value as a document."""
    return write_document(name, value).data.decode()


class ValueTests(SynchronousTestCase):
    def test_scalars(self) -> None:
        """Scalars have the lexical form of XML Schema."""
        for value, text in (
            ('a', 'a'), ('', ''), (Text('<b>'), '&lt;b&gt;'), ('& < > " \'', '&amp; &lt; &gt; " \''),
            ('\r\n\t', '&#13;\n\t'), ('é€😀', 'é€😀'), (True, 'true'), (False, 'false'), (7, '7'), (Size.LARGE, '3'),
            (2**70, '1180591620717411303424'), (1.5, '1.5'), (float('nan'), 'NaN'), (float('-inf'), '-INF'),
            (Decimal('1.50'), '1.50'), (Decimal('1E+3'), '1000'), (Colour.RED, 'red &amp; hot'),
            (dt.date(2026, 1, 31), '2026-01-31'), (dt.time(12, 30), '12:30:00'),
            (dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC), '2026-01-31T12:00:00+00:00'),
            (UUID(int=1), '00000000-0000-0000-0000-000000000001'), (b'\xff\0', '/wA='), (bytearray(b'a'), 'YQ=='),
        ):  # fmt: skip
            self.assertEqual(written(value), f'<v>{text}</v>')

    def test_null(self) -> None:
        """None is xsi:nil, also at the root; the prefix is declared only if needed."""
        self.assertEqual(written(None), f'<v xmlns:xsi="{XSI}" xsi:nil="true"/>')
        self.assertEqual(written({'a': None}), f'<v xmlns:xsi="{XSI}"><a xsi:nil="true"/></v>')
        self.assertEqual(written(' xsi:nil="true"/>'), '<v> xsi:nil="true"/&gt;</v>')

    def test_objects(self) -> None:
        """Mappings, Structs and dataclasses have their keys as children."""
        for value in ({'x': 1, 'y': '2.0'}, OrderedDict(x=1, y='2.0'), MappingProxyType({'x': 1, 'y': '2.0'}),
                      Point(1, Decimal('2.0'))):  # fmt: skip
            self.assertEqual(written(value), '<v><x>1</x><y>2.0</y></v>')
        self.assertEqual(written(Place('a', Point(1, Decimal(2)))),
                         '<v><name>a</name><at><x>1</x><y>2</y></at></v>')  # fmt: skip

    def test_lists(self) -> None:
        """Every kind of list has an item per element, including nested lists."""
        for value in ([1, 2], (1, 2), deque([1, 2]), range(1, 3), {1: 0, 2: 0}.keys()):
            self.assertEqual(written(value), '<v><item>1</item><item>2</item></v>')
        self.assertEqual(written([]), '<v></v>')
        self.assertEqual(written([[1], []]), '<v><item><item>1</item></item><item></item></v>')

    def test_what_has_no_form(self) -> None:
        """Characters that XML cannot represent, invalid keys and unsupported objects raise an error that names the
        element."""
        for value, why in (
            ('\0', 'The text of v has the character U+0000, which XML cannot hold'),
            ({'a': {'b': 'x\x1fy'}}, 'The text of b has the character U+001F, which XML cannot hold'),
            (['\ud800'], 'The text of item has the character U+D800, which XML cannot hold'),
            ('\uffff', 'The text of v has the character U+FFFF, which XML cannot hold'),
            ({'a b': 1}, "The key 'a b' in v is no name for an XML element"),
            ({'x:y': 1}, "The key 'x:y' in v is no name for an XML element"),
            ({'': 1}, "The key '' in v is no name for an XML element"),
            ({1: 1}, 'The key 1 in v is no name for an XML element'),
            ({'a': object()}, 'A value of type object has no form in XML (a)'),
        ):
            self.assertEqual(str(self.assertRaises(NotRepresentable, written, value)), why)

    def test_what_holds_itself(self) -> None:
        """Recursive values are rejected."""
        value: list[Any] = []
        value.append(value)
        self.assertIn('nested too deeply', str(self.assertRaises(NotRepresentable, written, value)))

    def test_names(self) -> None:
        """Names of any script without colons are valid."""
        for name, good in (('a', True), ('_a-1.b', True), ('é', True), ('名', True), ('1a', False), ('-a', False),
                           ('a:b', False), ('a b', False), ('', False), ('a>', False), ('a\n', False)):  # fmt: skip
            self.assertEqual(is_xml_name(name), good, name)

    def test_sayable(self) -> None:
        """Error details are written whatever characters they contain."""
        self.assertEqual(replace_invalid_characters('a\0b\ud800c\n'), 'a�b�c\n')
        self.assertEqual(write_error('c<', 'a\0 & b'),
                         '<error><cid>c&lt;</cid><details>a� &amp; b</details></error>'.encode())  # fmt: skip


class RootTests(SynchronousTestCase):
    def test_namespaces(self) -> None:
        """All elements are in the namespace; unqualified, only the root is."""
        pieces = ['<a>', '<b xsi:nil="true"/>', '</a>']
        whole, root = wrap_in_root('a', pieces, 'urn:&x'), wrap_in_root('a', pieces, 'urn:x', qualified=False)
        self.assertEqual([each.tag for each in etree.fromstring(whole.data).iter()],
                         ['{urn:&x}a', '{urn:&x}b'])  # fmt: skip
        self.assertEqual([each.tag for each in etree.fromstring(root.data).iter()], ['{urn:x}a', 'b'])
        self.assertIsNone(root.element().getchildren()[0].pyval)
        empty = wrap_in_root('a', ['<a xsi:nil="true"/>'], 'urn:x', qualified=False)
        self.assertEqual(etree.fromstring(empty.data).tag, '{urn:x}a')

    def test_around_pieces(self) -> None:
        """A root can be wrapped around written pieces."""
        self.assertEqual(wrap_in_element('a', ['x', '<b/>'], 'urn:x').data, b'<a xmlns="urn:x">x<b/></a>')


class ElementTests(SynchronousTestCase):
    def test_parsed_ones_go_out_as_they_came(self) -> None:
        """Parsed elements are written in UTF-8, without declaration and tail."""
        root = parse_document('<?xml version="1.0" encoding="ISO-8859-1"?>\n<a b="c">é<d/>\n</a>\n'.encode('latin-1'))
        self.assertEqual(serialize_document(root), '<a b="c">é<d/>\n</a>'.encode())
        self.assertEqual(serialize_document(parse_document(b'<a><b/>tail</a>').b), b'<b/>')

    def test_ones_made_with_objectify(self) -> None:
        """Objectified elements are written without annotations; the service's object is not changed."""
        root = objectify.Element('a')
        root.b, root.c = 1, None
        out = etree.fromstring(serialize_document(root))
        self.assertEqual([(each.tag, each.text) for each in out.iter()], [('a', None), ('b', '1'), ('c', None)])
        self.assertFalse([name for each in out.iter() for name in each.attrib if 'pytype' in name])
        self.assertEqual(out[1].get(f'{{{XSI}}}nil'), 'true')
        self.assertIn(b'pytype', etree.tostring(root))

    def test_comments_cut_nothing_off(self) -> None:
        """An element that a service parsed with comments is written with its whole text."""
        mine = etree.fromstring('<a>1<!-- -->2<?p?>3</a>')
        self.assertEqual(write_document('r', {'n': mine}).data, b'<r><n>123</n></r>')
        self.assertEqual(
            write_document('r', {'n': etree.fromstring('<a><!-- x --><b/></a>')}).data, b'<r><n><b/></n></r>'
        )
