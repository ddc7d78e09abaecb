"""Large XML documents are read and written in threads, while services run where they always do."""

from __future__ import annotations

from collections.abc import Generator
from threading import get_ident
from time import thread_time
from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks, succeed
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import TestCase

from trial_tests.support.invoking import Calls
from zatotx import Service
from zatotx.model.errors import BadInput
from zatotx.model.message import ServiceResult
from zatotx.pipeline.codecs import XmlCodec
from zatotx.service.io.xml_codec import LARGE_DOCUMENT, read_element_values
from zatotx.service.metadata import uses_name_in_methods
from zatotx.wire.xml.parser import THREAD_THRESHOLD, parse_document

READ_IN: list[int] = []  # threads


class Row(msgspec.Struct):
    number: int

    def __post_init__(self) -> None:
        READ_IN.append(get_ident())


class Rows(Service):
    """Responds with the number of rows."""

    input = list[Row]
    output = 'rows', 'thread'

    async def handle(self) -> None:
        self.response.payload = {'rows': len(self.request.input), 'thread': get_ident()}


class InThread(Service):
    input = list[Row]
    output = 'rows', 'thread'

    def handle(self) -> None:
        self.response.payload = {'rows': len(self.request.input), 'thread': get_ident()}


class Payload(Service):
    """Responds with its payload and the thread it runs in."""

    async def handle(self) -> None:
        self.response.headers['Thread'] = str(get_ident())
        self.response.payload = self.request.payload


class Asks(Service):
    """Declares no input; responds with its input, and whether that was read before it was accessed."""

    async def handle(self) -> None:
        ready = 'input' in vars(self.request)
        if self.request.headers.get('Ask') != 'no':
            found = self.request.input
            self.response.payload = {'rows': len(found['number']), 'first': found['number'][0], 'q': found.get('q')}
        self.response.headers['Ready'] = str(ready)


class AsksInThread(Asks):
    def handle(self) -> None:  # type: ignore[override]
        self.response.headers['Ready'] = str('input' in vars(self.request))
        self.response.payload = len(self.request.input['number'])


class Silent(Service):
    async def handle(self) -> None:
        self.response.payload = ' '.join(vars(self.request))


class Inherits(Asks):
    name = 'inherits'


class Wrapped(Service):
    @inlineCallbacks
    def handle(self) -> Generator[Deferred[Any], Any, None]:
        yield succeed(self.request.input)


class Inside(Service):
    async def handle(self) -> None:
        self.response.payload = [read() for read in [lambda: self.request.input]]


class ByName(Service):
    async def handle(self) -> None:
        self.response.payload = getattr(self.request, 'input')  # noqa: B009 - what some people write


class InProperty(Service):
    @property
    def asked(self) -> Any:
        return self.request.input

    async def handle(self) -> None:
        self.response.payload = self.asked


def rows(size: int) -> bytes:
    """Return a document of about that size."""
    row = b'<item><number>%06d</number></item>'
    return b'<rows>' + b''.join(row % number for number in range(size // len(row % 0))) + b'</rows>'


def numbers(size: int) -> bytes:
    """Return a document of about that size with nested elements."""
    row = b'<number><a>%06d</a><b><item>1</item><item>2</item></b></number>'
    return b'<all>' + b''.join(row % number for number in range(size // len(row % 0))) + b'</all>'


class LargeTests(TestCase):
    def setUp(self) -> None:
        self.pool = ThreadPool(0, 2)
        self.pool.start()
        self.addCleanup(self.pool.stop)
        READ_IN.clear()

    def start(self, service: type, document: bytes, **request: Any) -> Deferred[ServiceResult]:
        calls = Calls(service, reactor=reactor, pool=self.pool)
        inbound = calls.http(data_format='xml', body=document, **request)
        inbound.parsed = parse_document(document)
        return calls.start(inbound, inbound.parsed)

    async def test_input_is_read_in_a_thread(self) -> None:
        """Large input is read in a thread while the service runs on the reactor; small input never leaves it."""
        for size, here in ((LARGE_DOCUMENT // 2, True), (LARGE_DOCUMENT * 2, False)):
            READ_IN.clear()
            written = (await self.start(Rows, rows(size))).value.element()
            self.assertEqual((written.rows, written.thread), (len(READ_IN), get_ident()))
            self.assertEqual({ident == get_ident() for ident in READ_IN}, {here})

    async def test_def_services(self) -> None:
        """`def` services get their input the same way."""
        written = (await self.start(InThread, rows(LARGE_DOCUMENT * 2))).value.element()
        self.assertEqual(written.rows, len(READ_IN))
        self.assertNotEqual(written.thread, get_ident())

    async def test_elements_are_written_in_a_thread(self) -> None:
        """Elements are serialized in a thread."""
        outcome = await self.start(Payload, rows(LARGE_DOCUMENT * 2))
        self.assertEqual(outcome.value.data, rows(LARGE_DOCUMENT * 2))
        self.assertEqual(outcome.headers['Thread'], str(get_ident()))

    async def test_input_that_is_not_declared(self) -> None:
        """Undeclared input of a service on the reactor is read in advance in a thread, with the same result as on
        access."""
        for size, ready in ((LARGE_DOCUMENT // 2, 'False'), (LARGE_DOCUMENT * 2, 'True')):
            document = numbers(size)
            outcome = await self.start(Asks, document, query=b'q=1')
            written = outcome.value.element()
            self.assertEqual((outcome.headers['Ready'], written.q), (ready, 1))
            self.assertEqual(written.rows, document.count(b'<number>'))
            self.assertEqual(written.first.a.text, '000000')
            self.assertEqual([child.text for child in written.first.b.item.getchildren()], ['1', '2'])

    async def test_input_that_nobody_asks_for(self) -> None:
        """Input is not read if the code does not mention it, nor in advance for `def` services."""
        document = numbers(LARGE_DOCUMENT * 2)
        outcome = await self.start(AsksInThread, document)
        self.assertEqual(outcome.headers['Ready'], 'False')
        self.assertEqual(outcome.value.data, b'<response>%d</response>' % document.count(b'<number>'))
        outcome = await self.start(Silent, numbers(LARGE_DOCUMENT * 2))
        self.assertNotIn('input', outcome.value)

    def test_who_asks(self) -> None:
        """Access to input is found in a service's own and inherited methods, decorated or not."""
        for cls, asks in ((Asks, True), (Silent, False), (Inherits, True), (Wrapped, True), (Inside, True),
                          (ByName, True), (InProperty, True), (Rows, True), (InThread, True), (Payload, False)):
            self.assertEqual(uses_name_in_methods(cls, Service, 'input'), asks, cls)

    async def test_input_that_is_bad(self) -> None:
        """Invalid undeclared input is an error only on access."""
        bad = await self.assertFailure(self.start(Asks, numbers(LARGE_DOCUMENT * 2), query=b'q=%ff'), BadInput)
        self.assertIn('query', str(bad))
        outcome = await self.start(Asks, numbers(LARGE_DOCUMENT * 2), query=b'q=%ff', headers={b'ask': b'no'})
        self.assertEqual(outcome.headers['Ready'], 'False')

    async def test_mistakes_reach_the_caller(self) -> None:
        """Mistakes found in the thread reach the caller, each with its path, with the cid."""
        document = rows(LARGE_DOCUMENT * 2).replace(b'<number>000007<', b'<number>x<')
        bad: Any = await self.assertFailure(self.start(Rows, document), BadInput)
        self.assertEqual((bad.details, bad.cid), ('$[7].number: expected int, got str', '0123456789abcdef01234567'))

    async def test_who_gives_up(self) -> None:
        """A caller that cancels does not wait for the thread."""
        deferred = self.start(Rows, rows(LARGE_DOCUMENT * 2))
        deferred.cancel()
        await self.assertFailure(deferred, CancelledError)

    def test_many_of_one_name(self) -> None:
        """Reading time is linear in the number of siblings with the same name."""
        root = parse_document(b'<rows>' + b'<row>1</row>' * 50_000 + b'</rows>')
        began = thread_time()
        self.assertEqual(len(read_element_values(root)['row']), 50_000)
        self.assertLess(thread_time() - began, 5)

    def test_sizes(self) -> None:
        """Documents are parsed in a thread from 256 KiB on, and read in one from 64 KiB on."""
        self.assertEqual(
            (XmlCodec().thread_threshold, THREAD_THRESHOLD, LARGE_DOCUMENT), (256 * 1024, 256 * 1024, 64 * 1024)
        )
