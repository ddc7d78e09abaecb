"""Large XML documents: their input and answers are worked on in threads, services run where they always do."""

from __future__ import annotations

from threading import get_ident
from time import thread_time
from typing import Any

import msgspec
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import TestCase

from trial_tests.support.invoking import Calls
from zatotx import Service
from zatotx.exchange.codecs import XmlCodec
from zatotx.model.faults import BadInput
from zatotx.model.message import Outcome
from zatotx.service.io.xml_in import LONG, values
from zatotx.wire.xml import LARGE, parse

READ_IN: list[int] = []  # threads


class Row(msgspec.Struct):
    number: int

    def __post_init__(self) -> None:
        READ_IN.append(get_ident())


class Rows(Service):
    """How many there are."""

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
    """Its payload, and where it runs."""

    async def handle(self) -> None:
        self.response.headers['Thread'] = str(get_ident())
        self.response.payload = self.request.payload


def rows(size: int) -> bytes:
    """A document of about that size."""
    row = b'<item><number>%06d</number></item>'
    return b'<rows>' + b''.join(row % number for number in range(size // len(row % 0))) + b'</rows>'


class LargeTests(TestCase):
    def setUp(self) -> None:
        self.pool = ThreadPool(0, 2)
        self.pool.start()
        self.addCleanup(self.pool.stop)
        READ_IN.clear()

    def start(self, service: type, document: bytes) -> Deferred[Outcome]:
        calls = Calls(service, reactor=reactor, pool=self.pool)
        return calls.start(calls.http(data_format='xml', body=document), parse(document))

    async def test_input_is_read_in_a_thread(self) -> None:
        """And the service runs on the reactor all the same; of a small one nothing leaves it."""
        for size, here in ((LONG // 2, True), (LONG * 2, False)):
            READ_IN.clear()
            written = (await self.start(Rows, rows(size))).value.element()
            self.assertEqual((written.rows, written.thread), (len(READ_IN), get_ident()))
            self.assertEqual({ident == get_ident() for ident in READ_IN}, {here})

    async def test_def_services(self) -> None:
        """Find their input read too."""
        written = (await self.start(InThread, rows(LONG * 2))).value.element()
        self.assertEqual(written.rows, len(READ_IN))
        self.assertNotEqual(written.thread, get_ident())

    async def test_elements_are_written_in_a_thread(self) -> None:
        """What goes out is bytes already; the service was on the reactor."""
        outcome = await self.start(Payload, rows(LONG * 2))
        self.assertEqual(outcome.value.data, rows(LONG * 2))
        self.assertEqual(outcome.headers['Thread'], str(get_ident()))

    async def test_mistakes_reach_the_caller(self) -> None:
        """From there as well, each by its path, with the cid."""
        document = rows(LONG * 2).replace(b'<number>000007<', b'<number>x<')
        bad: Any = await self.assertFailure(self.start(Rows, document), BadInput)
        self.assertEqual((bad.details, bad.cid), ('$[7].number: expected int, got str', '0123456789abcdef01234567'))

    async def test_who_gives_up(self) -> None:
        """Is not made to wait for the thread."""
        deferred = self.start(Rows, rows(LONG * 2))
        deferred.cancel()
        await self.assertFailure(deferred, CancelledError)

    def test_many_of_one_name(self) -> None:
        """Cost each as much as a single one, in whatever form the elements are."""
        root = parse(b'<rows>' + b'<row>1</row>' * 50_000 + b'</rows>')
        began = thread_time()
        self.assertEqual(len(values(root)['row']), 50_000)
        self.assertLess(thread_time() - began, 5)

    def test_sizes(self) -> None:
        """Documents are parsed in a thread from 256 KiB on, read from 64."""
        self.assertEqual((XmlCodec().threaded, LARGE, LONG), (256 * 1024, 256 * 1024, 64 * 1024))
