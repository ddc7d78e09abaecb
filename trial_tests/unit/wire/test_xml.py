"""Tests of the XML parser: accepted and rejected documents, error messages, encodings, nulls and types, and the release
of names."""

from __future__ import annotations

import codecs
import copy
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from threading import Thread

from lxml import etree, objectify
from twisted.trial.unittest import SynchronousTestCase

from zatotx.wire.xml import libxml2_name_cache
from zatotx.wire.xml.document_limits import MAX_NAME_SIZE, NAME_TOO_LONG, WINDOW, check_document_limits
from zatotx.wire.xml.parser import (
    XSI,
    Malformed,
    PlainLxmlElements,
    XmlLimits,
    content_type_charset,
    ensure_own_tree,
    is_element,
    is_nil,
    local_name,
    parse_document,
    serialize_document,
    text_of,
)

SCHEMA = f'xmlns:xsi="{XSI}"'
ACCENTS = '<a>é€</a>'


class Case(SynchronousTestCase):
    def refused(self, document: bytes | str, *, charset: str = '', budget: XmlLimits | None = None) -> str:
        """Returns the error message for a document, which must be one line."""
        data = document.encode() if isinstance(document, str) else document
        error = self.assertRaises(Malformed, parse_document, data, charset, budget or XmlLimits())
        self.assertEqual(len(str(error).splitlines()), 1)
        return str(error)


class TreeTests(Case):
    def test_it_is_what_objectify_shows(self) -> None:
        """Children are attributes, numbers are converted, in the namespace of the document."""
        order = parse_document(
            b'<order xmlns="urn:o"><id>7</id><line><sku>a</sku></line><line><sku>b</sku></line></order>'
        )
        self.assertEqual(order.id + 1, 8)
        self.assertEqual([line.sku.text for line in order.line], ['a', 'b'])

    def test_comments_and_processing_instructions_are_not_in_it(self) -> None:
        """Comments and processing instructions between elements are removed."""
        root = parse_document(
            b'<?xml version="1.0"?>\n<?xml-stylesheet href="x"?><!-- a --><a><!-- b --><b>1</b><?c d?></a>'
        )
        self.assertEqual(serialize_document(root), b'<a><b>1</b></a>')

    def test_texts_keep_every_blank(self) -> None:
        """White space is kept; line ends are normalized as XML requires, character references are not."""
        root = parse_document(b'<a><b> x\t</b><c>\r\n</c><d>&#13;&#10;</d><e>&amp;&lt;&gt;&quot;&apos;</e></a>')
        self.assertEqual([child.text for child in root.iterchildren()], [' x\t', '\n', '\r\n', '&<>"\''])

    def test_what_is_no_xml_is_told_with_its_place(self) -> None:
        """The error has libxml2's message and the position, and its length is limited."""
        for document, why in (
            ('', 'document is empty (line 1, column 1)'),
            ('  \n ', "start tag expected, '<' not found (line 2, column 2)"),
            ('hello', "start tag expected, '<' not found (line 1, column 1)"),
            ('<a>', 'premature end of data in tag a line 1 (line 1, column 4)'),
            ('<a>\n<b></a>', 'opening and ending tag mismatch: b line 2 and a (line 2, column 8)'),
            ('<a/><b/>', 'extra content at the end of the document (line 1, column 5)'),
            ('<a b="1" b="2"/>', 'attribute b redefined (line 1, column 15)'),
            ('<x:a/>', 'namespace prefix x on a is not defined (line 1, column 5)'),
            ('<a>&b;</a>', "entity 'b' not defined (line 1, column 7)"),
            ('<a>\x01</a>', 'PCDATA invalid Char value 1 (line 1, column 4)'),
            ('<a>&#0;</a>', 'xmlParseCharRef: invalid xmlChar value 0 (line 1, column 8)'),
            ('<a>]]></a>', "sequence ']]>' not allowed in content (line 1, column 4)"),
            ('<?xml version="2.0"?><a/>', "unsupported version '2.0' (line 1, column 20)"),
        ):
            self.assertEqual(self.refused(document), why)
        self.assertTrue(len(self.refused('<' + 'a' * 40_000 + '></b>')) < 300)

    def test_foreign_elements_are_copied(self) -> None:
        """A tree of another parser is copied to one of ours; our own trees are not copied."""
        theirs, ours = etree.fromstring('<a><b>1</b></a>'), parse_document(b'<a><b>1</b></a>')
        self.assertIs(ensure_own_tree(ours), ours)
        self.assertEqual(serialize_document(ensure_own_tree(theirs)), serialize_document(ours))
        self.assertEqual(ensure_own_tree(theirs).b, 1)

    def test_plain_for_a_moment(self) -> None:
        """Elements are plain inside the context manager, and objectified before and after it; other documents are not
        affected."""
        root, other = parse_document(b'<a><b>1</b></a>'), parse_document(b'<a><b>1</b></a>')
        with PlainLxmlElements(root):
            self.assertIs(type(root.getchildren()[0]), etree._Element)
            self.assertEqual(other.b, 1)
        self.assertEqual(root.b, 1)

    def test_small_words(self) -> None:
        """local_name returns names without namespaces; is_element recognizes elements."""
        root = parse_document(b'<x:a xmlns:x="urn:x"/>')
        self.assertEqual(local_name(root), 'a')
        self.assertTrue(is_element(root))
        self.assertFalse(is_element('<a/>'))


CUTS = ('<!-- -->', '<!-- <b> ]]> -->', '<?a b?>', '<?a?><!---->', '<![CDATA[]]>', '<!----><![CDATA[]]><!---->')


class PieceTests(Case):
    def test_a_value_in_pieces_is_read_whole(self) -> None:
        """A comment, processing instruction or CDATA section anywhere in a text, between white space or beside elements
        does not change the value and is not rejected."""
        text = ' ab\n\u00e9&lt; '
        pieces = [text[:at] for at in range(len(text) + 1) if at not in (6, 7, 8)]  # not inside of a reference
        for cut in CUTS:
            for before in pieces:
                inside = before + cut + text[len(before) :]
                for document in (f'<a>{inside}</a>', f'{cut}<a>{inside}<!-- --></a>'.replace('![CDATA[]]', '!----')):
                    self.assertEqual(text_of(parse_document(document.encode())), ' ab\n\u00e9< ', document)
                root = parse_document(
                    f'<r>{cut if "CDATA" not in cut else ""}<a>{inside}</a>{cut}<b/>{cut}</r>'.encode()
                )
                self.assertEqual([child.text for child in root.iterchildren()], [' ab\n\u00e9< ', None])
                self.assertEqual(text_of(root), ' ab\n\u00e9< ')

    def test_sections_are_text(self) -> None:
        """CDATA sections are text, whatever markup they quote, alone, beside text and beside each other."""
        for document, value in (
            ('<a><![CDATA[<b>&amp;</b>]]></a>', '<b>&amp;</b>'), ('<a>\n<![CDATA[x]]>\n</a>', '\nx\n'),
            ('<a>ab<![CDATA[cd]]></a>', 'abcd'), ('<a><![CDATA[ab]]>cd</a>', 'abcd'),
            ('<a><![CDATA[ab]]> <![CDATA[cd]]></a>', 'ab cd'), ('<a><![CDATA[]]]]><![CDATA[>]]></a>', ']]>'),
            ('<a><![CDATA[ text <!-- no comment --> text <?no pi?> <!DOCTYPE html> ]]></a>',
             ' text <!-- no comment --> text <?no pi?> <!DOCTYPE html> '),
            ('<a><!-- <b> ]]> <![CDATA[ text --></a>', ''), ('<!-- <!DOCTYPE a> --><a/>', ''),
            ('<?p <!DOCTYPE a>?><a><!-- <!DOCTYPE a> -->1</a>', '1'),
            ('<a b="--&gt; x ?&gt; y">x ! y ? z</a>', 'x ! y ? z'),
        ):  # fmt: skip
            self.assertEqual(text_of(parse_document(document.encode())), value, document)

    def test_texts_of_other_trees(self) -> None:
        """Texts of trees with comments, and of elements with children, have their XPath string value."""
        for document, value in (('<a>1<!-- 2 -->3<?p 4?>5</a>', '135'), ('<a>1<b>2<c>3</c></b><!-- x -->4</a>', '1234'),
                                ('<a/>', ''), ('<a><!-- x --></a>', ''), ('<a><b/></a>', '')):  # fmt: skip
            self.assertEqual(text_of(etree.fromstring(document)), value, document)
            self.assertEqual(text_of(parse_document(document.encode())), value, document)

    def test_a_document_type_is_refused(self) -> None:
        """A DTD is rejected, whatever its content and position, in any case."""
        for before in ('', '<?xml version="1.0"?>', '<!-- a -->\n', '<?a b?>'):
            why = self.refused(f'{before}<!DOCTYPE a><a/>')
            self.assertIn('a document type declaration (DTD) is not accepted here (line ', why)
        self.assertIn('(line 3, column 5)', self.refused('<?a <!DOCTYPE b>?>\n<!--\n--> <!DOCTYPE a><a/>'))
        for document in ('<a>\n  <!ENTITY b "c">\n</a>', '<!doctype a><a/>', '<a><!DOCTYPE a></a>', '<a/><!DOCTYPE a>',
                         '<!-- <!DOCTYPE a>', '<? <!DOCTYPE a>', 'x<!DOCTYPE a><a/>'):  # fmt: skip
            self.refused(document)

    def test_many_comments_and_sections(self) -> None:
        """Many comments and sections cost little, and count for the limit of elements."""
        taken = b'<a>' + b'<!---->' * 300_000 + b'<![CDATA[c]]>' * 200_000 + b'<?b?>' * 99_000 + b'</a>'
        self.assertEqual(text_of(parse_document(taken)), 'c' * 200_000)
        self.assertIn('more than 600000 elements', self.refused(taken.replace(b'</a>', b'<?b?>' * 2_000 + b'</a>')))

    def test_unfinished_markup_is_the_parsers_to_tell(self) -> None:
        """Markup that does not end is reported by the parser."""
        for document in ('<a><!-- ', '<a><![CDATA[ ', '<a><? ', '<a><!-', '<!', '<?', '<?xml', '<a>!', '?'):
            self.refused(document)


class SchemaTests(Case):
    def test_types_change_nothing(self) -> None:
        """xsi:type and lxml's equivalent are removed and do not change values."""
        root = parse_document(f'<a {SCHEMA} xmlns:py="{objectify.PYTYPE_ATTRIBUTE[1:-7]}">'
                     '<b xsi:type="xsd:int">x</b><c py:pytype="float">1</c><d xsi:type="t:Admin"><e>1</e></d>'
                     '</a>'.encode())  # fmt: skip
        self.assertEqual([root.b, root.c, root.d.e], ['x', 1, 1])
        self.assertFalse(any(child.attrib for child in root.iter()))

    def test_types_of_a_root(self) -> None:
        """Types are also removed if the root is the only element."""
        root = parse_document(f'<a {SCHEMA} xsi:type="xsd:int">x</a>'.encode())
        self.assertEqual(root.text, 'x')
        self.assertNotIsInstance(root, objectify.IntElement)

    def test_null(self) -> None:
        """An element with xsi:nil is None for services."""
        root = parse_document(f'<a {SCHEMA}><b xsi:nil="true"/><c xsi:nil="1"/><d xsi:nil="false">1</d></a>'.encode())
        self.assertIsNone(root.b.pyval)
        self.assertEqual(root.d, 1)

    def test_a_null_that_has_content_is_refused(self) -> None:
        """An element with xsi:nil and content is rejected, since programs would interpret it differently."""
        for content in ('x', ' ', '<b/>', '<![CDATA[x]]>'):
            for nil in ('true', '1', ' true '):
                self.assertEqual(self.refused(f'<r {SCHEMA}><a xsi:nil="{nil}">{content}</a></r>'),
                                 'the element a is null (xsi:nil) and has content')  # fmt: skip

    def test_blanks_are_those_of_xml(self) -> None:
        """Only XML's white space is ignored around the value of xsi:nil."""
        root = parse_document(f'<r {SCHEMA}><a xsi:nil="\xa0true">x</a><b xsi:nil="\ttrue"/></r>'.encode())
        self.assertEqual([is_nil(child) for child in root.getchildren()], [False, True])

    def test_xinclude_is_refused(self) -> None:
        """XInclude elements are rejected, the word in a text is not."""
        include = '<a><i:include xmlns:i="http://www.w3.org/2001/XInclude" href="file:///etc/passwd"/></a>'
        self.assertEqual(self.refused(include), 'XInclude is not accepted here')
        self.assertEqual(parse_document(b'<a>http://www.w3.org/2001/XInclude</a>').text, 'http://www.w3.org/2001/XInclude')


class EncodingTests(Case):
    def text(self, data: bytes, charset: str = '') -> str:
        text: str = parse_document(data, charset).text
        return text

    def test_what_is_accepted(self) -> None:
        """Each supported encoding is accepted by XML declaration and by Content-Type."""
        for name, codec in (('UTF-8', 'utf-8'), ('utf8', 'utf-8'), ('ISO-8859-15', 'iso8859-15'),
                            ('windows-1252', 'cp1252'), ('UTF-16', 'utf-16')):  # fmt: skip
            for quote in '"\'':
                declared = f'<?xml version={quote}1.0{quote} encoding={quote}{name}{quote} ?>{ACCENTS}'
                self.assertEqual(self.text(declared.encode(codec)), 'é€', name)
            self.assertEqual(self.text(ACCENTS.encode(codec), name.lower()), 'é€', name)
        self.assertEqual(self.text('<?xml version="1.0" encoding="ISO-8859-1"?><a>é</a>'.encode('latin-1')), 'é')
        self.assertEqual(self.text(b'<a>e</a>', 'us-ascii'), 'e')

    def test_utf_8_is_what_nobody_says(self) -> None:
        """UTF-8 is the default, with or without a byte order mark."""
        self.assertEqual(self.text(ACCENTS.encode()), 'é€')
        self.assertEqual(self.text(codecs.BOM_UTF8 + ACCENTS.encode()), 'é€')
        self.assertEqual(self.text(codecs.BOM_UTF8 + ACCENTS.encode(), 'utf-8'), 'é€')

    def test_utf_16(self) -> None:
        """UTF-16 is accepted with a byte order mark and a declaration, in either byte order."""
        for mark, codec in ((codecs.BOM_UTF16_LE, 'utf-16-le'), (codecs.BOM_UTF16_BE, 'utf-16-be')):
            bare, own = mark + ACCENTS.encode(codec), codec.replace('16-', '16')
            self.assertEqual(self.text(bare, 'utf-16'), 'é€')
            self.assertEqual(self.text(bare, own), 'é€')
            self.assertIn('UTF-16 must be declared', self.refused(bare))
            other = {'utf-16le': 'utf-16be', 'utf-16be': 'utf-16le'}[own]
            self.assertIn(f'the byte order mark is of {own.upper()}, the encoding is said to be {other.upper()}',
                          self.refused(bare, charset=other))  # fmt: skip
            self.assertIn('the encoding is said to be UTF-8', self.refused(bare, charset='utf-8'))
            declared = f'<?xml version="1.0" encoding="UTF-8"?>{ACCENTS}'.encode(codec)
            self.assertIn('the encoding is said to be UTF-8', self.refused(mark + declared))
            self.assertIn('UTF-16 needs a byte order mark', self.refused(ACCENTS.encode(codec)))
        self.assertIn('there is no byte order mark of UTF-16', self.refused('<a/>', charset='utf-16'))
        self.assertIn('a NUL byte', self.refused('<a>\0</a>'.encode('utf-16'), charset='utf-16'))

    def test_what_is_not_accepted(self) -> None:
        """Unsupported encodings are rejected by name; the message lists the supported ones."""
        for name in ('UTF-7', 'UTF-32', 'EBCDIC-CP-BE', 'ISO-8859-2', 'Shift_JIS', 'x' * 500, 'utf 8', '..'):
            declared = f'<?xml version="1.0" encoding="{name}"?><a/>'
            for why in (self.refused(declared), self.refused('<a/>', charset=name.lower())):
                self.assertIn(f'the encoding {name.upper()[:40]} is not accepted here (accepted: UTF-8, US-ASCII', why)
                self.assertTrue(len(why) < 200)
        for mark in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
            self.assertRaises(Malformed, parse_document, mark + '<a/>'.encode('utf-32')[4:])
        self.assertRaises(Malformed, parse_document, '<?xml version="1.0"?><a/>'.encode('cp500'))
        self.assertIn("'<' not found", self.refused('+ADw-a/+AD4-'))

    def test_a_declaration_that_hides_what_it_says(self) -> None:
        """A declaration with excessive white space is rejected."""
        for blanks in (900, 2_000, 2_000_000):
            declared = f'<?xml version="1.0" {" " * blanks}encoding="UTF-7"?><a/>'
            self.assertRegex(self.refused(declared), 'UTF-7 is not accepted|does not end within 1000 bytes')

    def test_whose_bytes_are_none(self) -> None:
        """Invalid bytes are reported with their position; surrogates and overlong forms are invalid UTF-8."""
        for data, charset, why in (
            (b'<a>\n\xff</a>', '', 'invalid UTF-8 (line 2, column 1)'),
            (b'<a>\xed\xa0\x80</a>', '', 'invalid UTF-8 (line 1, column 4)'),
            (b'<a>\xc0\xbc</a>', '', 'invalid UTF-8 (line 1, column 4)'),
            (b'<a>\xe9</a>', 'us-ascii', 'invalid US-ASCII (line 1, column 4)'),
            (b'<a>\x81</a>', 'windows-1252', 'invalid WINDOWS-1252 (line 1, column 4)'),
            (b'<a>\0</a>', '', 'a NUL byte (line 1, column 4)'),
            (codecs.BOM_UTF16_LE + b'<\0a\0>', 'utf-16', 'invalid UTF-16 (line 1, column 7)'),
        ):
            self.assertEqual(self.refused(data, charset=charset), why)

    def test_two_that_do_not_agree(self) -> None:
        """Conflicting encodings are rejected if they would give different texts."""
        declared = '<?xml version="1.0" encoding="ISO-8859-1"?>'
        self.assertEqual(self.refused(declared.encode() + '<a>é</a>'.encode(), charset='utf-8'),
                         'the encoding is said to be UTF-8 and ISO-8859-1')  # fmt: skip
        self.assertEqual(self.refused(codecs.BOM_UTF8 + declared.encode() + b'<a>\xc3\xa9</a>'),
                         'the encoding is said to be UTF-8 and ISO-8859-1')  # fmt: skip
        self.assertEqual(self.text(declared.encode() + b'<a>e</a>', 'utf-8'), 'e')

    def test_charset_of_a_content_type(self) -> None:
        """A charset is read in any case, quoted or not; a missing one is ''; several are rejected."""
        for field, charset in (
            (b'', ''), (b'text/xml', ''), (b'text/xml; charset=UTF-8', 'utf-8'), (b'text/xml;charset="utf-8"', 'utf-8'),
            (b'application/xml; a=b; Charset = utf-16 ', 'utf-16'), (b'text/xml; charset=a; charset=A', 'a'),
            (b'text/xml; charset', ''), (b'text/xml; charset=\xff', '�'),
        ):  # fmt: skip
            self.assertEqual(content_type_charset(field), charset, field)
        self.assertRaises(Malformed, content_type_charset, b'text/xml; charset=utf-8; charset=utf-16')


class BudgetTests(Case):
    def test_each_limit_holds_to_the_number(self) -> None:
        """Each limit is exact, and named in the message."""
        for over, limit, why in (
            (b'<a>' * 5 + b'</a>' * 5, XmlLimits(depth=4), 'elements are nested more than 4 deep'),
            (b'<a><a><a><a><a/></a></a></a></a>', XmlLimits(depth=4), 'elements are nested more than 4 deep'),
            (b'<a><b/><c></c><d/><!-- --></a>', XmlLimits(elements=4), 'more than 4 elements'),
            (b'<a b="" c = ""><d e=\'\' f=""/><g h="1=2"/></a>', XmlLimits(attributes=4), 'more than 4 attributes'),
            (b'<a b="" c="" d="" e="" f=""/>', XmlLimits(per_element=4), 'an element has more than 4 attributes'),
            (b'<a>' + b'<b/>' * 20_000 + b'<b c=">" d="" e="" f="" g=""/>' + b'<b/>' * 20_000 + b'</a>',
             XmlLimits(per_element=4), 'an element has more than 4 attributes'),
            (b'<a xmlns="1" xmlns:b="2" xmlns:c="3"><b:d xmlns="4" xmlns:b="5"/></a>', XmlLimits(namespaces=4),
             'more than 4 namespace declarations'),
            (b'<a>12345</a>', XmlLimits(text=4), 'a text has more than 4 characters'),
        ):  # fmt: skip
            self.assertIn(f'{why}, the limit here', self.refused(over, budget=limit))
            name = next(
                name for name in XmlLimits.__struct_fields__ if getattr(limit, name) != getattr(XmlLimits(), name)
            )
            parse_document(over, budget=XmlLimits(**{name: 6}))

    def test_what_only_looks_like_much(self) -> None:
        """Texts and repeated declarations do not count."""
        parse_document(b'<a><b>' + b'x=1 ' * 200 + b'</b></a>', budget=XmlLimits(attributes=10, per_element=10))
        parse_document(b'<a b="=>==>"><c d=">>=="/></a>', budget=XmlLimits(per_element=1))
        parse_document(b'<a>' + b'<b xmlns="urn:b" xmlns:c="urn:c"/>' * 50 + b'</a>', budget=XmlLimits(namespaces=3))
        parse_document(b'<a>' + b'<b>&lt;</b>' * 50 + b'</a>', budget=XmlLimits(elements=51, depth=2))

    def test_what_is_counted_in_windows(self) -> None:
        """Occurrences across the borders of windows are counted once."""
        for piece, name in ((b'<b></b>', 'elements'), (b'<b c = "=>"/>', 'attributes')):
            for shift in range(len(piece)):
                document = b'<a>' + b' ' * shift + piece * 20_000 + b'x=' * 9 + b'</a>'
                self.assertGreater(len(document), 2 * WINDOW)
                exact = 20_001 if name == 'elements' else 40_000  # the value has one as well
                check_document_limits(document, XmlLimits(**{name: exact}))
                self.assertRaises(Malformed, check_document_limits, document, XmlLimits(**{name: exact - 1}))
        spaces = b''.join(b'<b xmlns:a%d="u"/>' % (n % 9_000) for n in range(12_000))
        check_document_limits(spaces, XmlLimits(namespaces=9_000))
        self.assertRaises(Malformed, check_document_limits, spaces, XmlLimits(namespaces=8_999))

    def test_long_names(self) -> None:
        """Names longer than libxml2 supports are rejected, very long ones of any kind before parsing."""
        self.assertEqual(len(parse_document(b'<' + b'a' * MAX_NAME_SIZE + b'/>').tag), MAX_NAME_SIZE)
        self.assertEqual(self.refused('<' + 'a' * MAX_NAME_SIZE + 'a/>'), NAME_TOO_LONG)
        name = 'n' * 600_000
        for document in (
            f'<{name}/>', f'<a>{"x" * MAX_NAME_SIZE}<b c="d"><{name}', f'<a></{name}></a>', f'<a {name}=""/>',
            f'<a xmlns:b="u" b:{name} = ""/>', f'<a b=">" c=\'"\' {name}=""/>', f'<{name}:b/>', f'<a><?{name}?></a>',
        ):  # fmt: skip
            self.assertEqual(self.refused(document), 'a name has more than 50000 bytes, the limit here')
            self.assertRaises(Malformed, check_document_limits, document.encode(), XmlLimits())
        for document in (
            f'<a>{name}</a>', f'<a b="{name}"/>', f'<a b="<" c=\'>{name}\'/>'.replace('<"', '&lt;"'),
            f'<a><b/>{name}</a>', f'<a><![CDATA[<{name}]]></a>', f'<a><!-- <{name} --></a>',
        ):  # fmt: skip
            parse_document(document.encode())

    def test_limits_of_libxml2_are_told_as_ours(self) -> None:
        """libxml2's own errors for depth and text size are reported like ours."""
        self.assertEqual(self.refused(b'<a>' * 300), 'elements are nested more than 100 deep, the limit here')
        self.assertEqual(self.refused(b'<a>' + b'x' * 10_000_001 + b'</a>'),
                         'a text has more than 10000000 characters, the limit here')  # fmt: skip


class NameTests(SynchronousTestCase):
    def names(self, threads: Iterable[str]) -> None:
        """Parses documents with names that were not used before."""
        for thread in threads:
            for number in range(160):
                many = [f'{thread}{number}x{n}{"y" * 90}' for n in range(5_000)]
                parse_document(f'<r>{"".join(f"<{name}/>" for name in many)}</r>'.encode())

    def test_names_are_let_go(self) -> None:
        """Eighty megabytes of names, in the reactor's thread and in another, leave little memory in use."""
        self.names(['warm'])
        before = resident()
        other = Thread(target=self.names, args=(['b'],))
        other.start()
        self.names(['a'])
        other.join()
        self.assertLess(resident() - before, 64 * 2**20)

    def test_it_works_with_this_lxml(self) -> None:
        """Names are found in every thread: if another version of lxml stores them elsewhere they would leak
        silently."""
        found: list[bool] = []
        for _ in range(2):
            other = Thread(target=lambda: found.append(libxml2_name_cache.is_name_release_supported()))
            other.start()
            other.join()
        self.assertEqual((libxml2_name_cache.is_name_release_supported(), libxml2_name_cache.release_names(), found),
                         (True, False, [True, True]))

    def test_another_lxml_is_reported(self) -> None:
        """If names cannot be released, loading lxml reports it, and findings say so from then on."""
        reports: list[str] = []
        self.patch(libxml2_name_cache, '_check', libxml2_name_cache._Check())
        libxml2_name_cache.set_unsupported_callback(partial(reports.append, 'leak'))
        libxml2_name_cache.check_name_release()
        self.assertEqual((libxml2_name_cache.is_release_supported_if_loaded(), reports), (True, []))
        self.patch(libxml2_name_cache, 'is_name_release_supported', lambda: False)
        libxml2_name_cache.check_name_release()
        self.assertEqual((libxml2_name_cache.is_release_supported_if_loaded(), reports), (False, ['leak']))

    def test_documents_outlive_the_names(self) -> None:
        """A tree remains usable after a release, and can be combined with a later one."""
        old = parse_document(b'<old xmlns:x="urn:x"><x:a b="1">text</x:a></old>')
        kept = copy.deepcopy(old)
        libxml2_name_cache.count_parsed_document(libxml2_name_cache.RELEASE_AFTER + 1)
        new = parse_document(b'<new><c/></new>')
        new.append(old.getchildren()[0])
        self.assertEqual(serialize_document(new), b'<new><c/><x:a xmlns:x="urn:x" b="1">text</x:a></new>')
        del old
        self.assertEqual(serialize_document(kept), b'<old xmlns:x="urn:x"><x:a b="1">text</x:a></old>')
        self.assertEqual(kept.xpath('string(x:a/@b)', namespaces={'x': 'urn:x'}), '1')


def resident() -> int:
    """Returns the resident size of this process in bytes."""
    return int(Path('/proc/self/statm').read_text().split()[1]) * 4096
