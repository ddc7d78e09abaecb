"""Tests of malicious XML: each document is rejected at little cost, without opening or reading anything, and without
leaking memory."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from zatotx.wire.xml.parser import Malformed, parse_document

MIB = 2**20
CPU_SECONDS = 0.5  # of the slowest; what is promised is 0.1, on a machine that does nothing else
MEMORY = 64 * MIB  # beyond the document


DTD = 'a document type declaration (DTD) is not accepted here'


def numbered(template: str, times: int) -> str:
    """Yields a template formatted with each number."""
    return ' '.join(template.format(n) for n in range(times))


def entities() -> Iterator[tuple[str, str, str]]:
    """Yields attacks that use a DTD, as (name, document, expected error)."""
    laughs = ''.join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    yield 'billion laughs', f'<!DOCTYPE l [<!ENTITY l0 "lol">{laughs}]><l>&l9;</l>', DTD
    yield 'quadratic blow-up', f'<!DOCTYPE a [<!ENTITY x "{"y" * 100_000}">]><a>{"&x;" * 100_000}</a>', DTD
    yield 'entity', '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', DTD
    yield 'name alone', '<!DOCTYPE a><a/>', DTD
    yield 'defaults', '<!DOCTYPE a [<!ATTLIST a admin CDATA "true">]><a/>', DTD
    yield 'after a comment', '<!--\n--><!DOCTYPE a []><a/>', DTD
    yield 'none at all', '<a>&x;</a>', 'not defined'


def shapes() -> Iterator[tuple[str, str, str]]:
    """Yields documents that exceed a limit."""
    attributes, spaced = numbered('a{}=""', 1_000_000), numbered("a{} = ''", 1_000_000)
    yield 'attributes', f'<a {attributes}/>', 'more than 250000 attributes'
    yield 'spaced attributes', f'<a {spaced}/>', 'more than 250000 attributes'
    yield 'attributes beside a comment', f'<a><!-- <![CDATA[ --><b {attributes}/></a>', 'more than 250000 attributes'
    yield 'attributes of one', f'<a {numbered("a{}=_", 90_000)}/>'.replace('_', '""'), 'more than 256 attributes'
    yield 'attribute repeated', f'<a {"b=_ " * 90_000}/>'.replace('_', '""'), 'redefined'
    yield 'levels', '<a>' * 100_000 + '</a>' * 100_000, 'nested more than 100 deep'
    yield 'levels without end', '<a>' * 100_000, 'nested more than 100 deep'
    yield 'a few levels', '<a>' * 255 + '</a>' * 255, 'nested more than 100 deep'
    yield 'elements', '<a>' + '<b/>' * 1_000_000 + '</a>', 'more than 600000 elements'
    yield 'ends', '<a>' + '</>' * 1_300_000, 'more than 600000 elements'
    yield 'comments', '<a>' + '<!---->' * 1_000_000 + '</a>', 'more than 600000 elements'
    yield 'comments without end', '<a>' + '<!-- ' * 200_000, '(line 1'
    yield 'comments before a DTD', '<!----> ' * 500_000 + '<!DOCTYPE a><a/>', DTD
    yield 'blanks before a DTD', ' \n' * 5_000_000 + '<!DOCTYPE a><a/>', DTD
    yield 'text in pieces', f'<a>{("x" * 40 + "<!---->") * 300_000}</a>', 'more than 10000000 characters'
    namespaces = numbered('xmlns:a{}=_', 1_500).replace('_', '"u"')
    yield 'namespaces', f'<a {numbered("xmlns:a{}=_", 100_000)}/>'.replace('_', '"u"'), 'more than 1000 namespace'
    yield 'namespaces at each level', f'<a {namespaces}>' * 90 + '</a>' * 90, 'more than 1000 namespace'
    yield 'text', f'<a>{"x" * 12_000_000}</a>', 'more than 10000000 characters'
    yield 'attribute', f'<a b="{"x" * 12_000_000}"/>', 'more than 10000000 characters'
    yield 'name', f'<{"a" * 8_800_000}/>', 'a name has more than 50000 bytes'
    yield 'name of an attribute', f'<a xmlns:b="u" b:{"c" * 8_800_000}=""/>', 'a name has more than 50000 bytes'
    yield 'attributes of many', f'<a>{"<b c=_ d=_ e=_ f=_/>" * 250_000}</a>'.replace('_', '""'), 'more than 250000'
    yield 'one namespace', f'<a>{"<b xmlns=_/>" * 400_000}</a>'.replace('_', '"u"'), 'more than 250000 attributes'
    nulls = '<b i:nil="1"/>' * 200_000
    yield 'nulls', f'<a xmlns:i="http://www.w3.org/2001/XMLSchema-instance">{nulls}<b i:nil="1">c</b></a>', 'is null'
    yield 'CDATA sections', f'<a>{"<b><![CDATA[c]]></b>" * 300_000}<![CDATA[d]]>e</a>', 'more than 600000 elements'
    yield 'declaration', f'<?xml version="1.0" {" " * 12_000_000}?><a/>', 'does not end'


def disguises() -> Iterator[tuple[str, bytes, str]]:
    """Yields documents that programs may interpret differently."""
    dtd = '<!DOCTYPE a><a/>'
    yield 'UTF-7', b'<?xml version="1.0" encoding="UTF-7"?>+ADw-a/+AD4-', 'UTF-7 is not accepted'
    yield 'UTF-7, not declared', b'+ADwAIQ-DOCTYPE a+AD4-', "'<' not found"
    yield 'UTF-16, not declared', dtd.encode('utf-16'), 'must be declared'
    yield 'UTF-16 without mark', dtd.encode('utf-16-be'), 'byte order mark'
    yield 'UTF-16', f'<?xml version="1.0" encoding="UTF-16"?>{dtd}'.encode('utf-16'), DTD
    yield 'EBCDIC', f'<?xml version="1.0" encoding="EBCDIC-CP-US"?>{dtd}'.encode('cp500'), '(line 1'
    yield 'invalid UTF-8', b'<a>\xc3\x28</a>', 'invalid UTF-8'
    yield 'null byte', b'<a>x\0y</a>', 'NUL'
    include = b'<i:include xmlns:i="http://www.w3.org/2001/XI&#110;clude" href="file:///etc/passwd"/>'
    yield 'XInclude in references', include, 'XInclude is not accepted'
    yield 'DTD after a comment that names one', f'<!-- <!DOCTYPE b> -->{dtd}'.encode(), DTD


def attacks() -> Iterator[tuple[str, bytes, str]]:
    """Yields all attacks, each created on demand."""
    for name, document, why in chain(entities(), shapes()):
        yield name, document.encode(), why
    yield from disguises()


class AttackTests(SynchronousTestCase):
    def test_each_is_refused_for_little(self) -> None:
        """Each attack is rejected with the expected sentence, in little time and memory."""
        for name, document, why in attacks():
            with Peak() as peak:
                began = time.thread_time()
                said = refusal(document)
                self.assertLess(time.thread_time() - began, CPU_SECONDS, name)
            self.assertLess(peak.grown, MEMORY, name)
            self.assertIn(why, said, name)
            self.assertLess(len(said), 300, name)

    def test_one_after_the_other_leave_nothing(self) -> None:
        """Repeated attacks do not leak memory."""
        self.refuse_all()
        with Peak() as peak:
            self.refuse_all()
        self.assertLess(peak.left, 32 * MIB)

    def refuse_all(self) -> None:
        """Checks that each attack is rejected."""
        for name, document, _ in attacks():
            self.assertTrue(refusal(document), name)

    def test_the_largest_that_is_taken(self) -> None:
        """Parsing a document with the maximum of elements and attributes uses bounded memory."""
        with Peak() as peak:
            root = parse_document(b'<a>' + b'<b c="">x</b>' * 249_000 + b'<b>x</b>' * 350_000 + b'</a>')
        self.assertEqual(root.countchildren(), 599_000)
        self.assertLess(peak.grown, 320 * MIB)

    def test_five_megabytes_of_records(self) -> None:
        """A typical large document is accepted: a hundred thousand short records, each with an attribute."""
        record = b'<row id="1"><name>Ann</name><qty>5</qty></row>'
        self.assertEqual(parse_document(b'<a>' + record * (5 * MIB // len(record)) + b'</a>').countchildren(), 113_975)


class OutsideTests(SynchronousTestCase):
    """Nothing outside the document is accessed."""

    def setUp(self) -> None:
        self.secret = Path(self.mktemp())
        os.mkfifo(self.secret)
        reader = os.open(self.secret, os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(self.secret, os.O_WRONLY | os.O_NONBLOCK)
        os.write(writer, b'a secret of the machine')
        os.close(writer)  # whoever reads gets the secret and the end of the file
        self.reader = reader
        self.addCleanup(os.close, reader)
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.listener.setblocking(False)
        self.addCleanup(self.listener.close)
        self.url = f'http://127.0.0.1:{self.listener.getsockname()[1]}/evil.dtd'
        self.file = f'file://{self.secret.absolute()}'

    def documents(self) -> Iterator[str]:
        """Yields documents that refer to external resources."""
        include = 'xmlns:i="http://www.w3.org/2001/XInclude"'
        for where in (self.url, self.file, str(self.secret.absolute()), f'netdoc:{self.secret}'):
            yield f'<!DOCTYPE a SYSTEM "{where}"><a/>'
            yield f'<!DOCTYPE a PUBLIC "-//x" "{where}"><a/>'
            yield f'<!DOCTYPE a [<!ENTITY x SYSTEM "{where}">]><a>&x;</a>'
            yield f'<!DOCTYPE a [<!ENTITY % x SYSTEM "{where}"> %x;]><a>&y;</a>'
            yield f'<!DOCTYPE a [<!ENTITY % x "<!ENTITY y SYSTEM \'{where}\'>"> %x;]><a>&y;</a>'
            yield f'<a {include}><i:include href="{where}" parse="text"/></a>'
            yield f'<i:include {include} href="{where}"><i:fallback/></i:include>'

    def taken(self) -> Iterator[str]:
        """Yields documents that mention external resources without requesting them."""
        for where in (self.url, self.file):
            yield f'<?xml-stylesheet type="text/xsl" href="{where}"?><a/>'
            yield (f'<a xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="urn:a {where}" '
                   f'xsi:noNamespaceSchemaLocation="{where}"/>')  # fmt: skip
            yield f'<a xmlns="{where}" xml:base="{where}" href="{where}"/>'

    def test_nothing_else_is_opened(self) -> None:
        """No connection is made and no file is read."""
        for document in self.documents():
            self.assertRaises(Malformed, parse_document, document.encode())
        for document in self.taken():
            self.assertEqual(parse_document(document.encode()).tag.rpartition('}')[2], 'a')
        self.assertRaises(BlockingIOError, self.listener.accept)
        self.assertEqual(os.read(self.reader, 100), b'a secret of the machine')


def refusal(document: bytes) -> str:
    """Returns the error for a document, '' if it is accepted."""
    try:
        parse_document(document)
    except Malformed as error:
        return str(error)
    return ''


class Peak:
    """A context manager that measures memory: `grown` is the peak and `left` the final increase, in bytes."""

    grown = left = 0

    def __enter__(self) -> Peak:
        Path('/proc/self/clear_refs').write_text('5')  # the peak is from now on
        self._before = status('VmRSS')
        return self

    def __exit__(self, *_: object) -> None:
        self.grown = status('VmHWM') - self._before
        self.left = status('VmRSS') - self._before


def status(key: str) -> int:
    """Returns a value of /proc/self/status in bytes."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024
