"""Limits of one message: depth and keys of JSON, fields of forms; and the memory budget."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, execute, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.errors import BadRequest, ContentTooLarge
from zatotx.model.message import Message, Principal, Reply, ServiceResult
from zatotx.pipeline.codecs import CodecRegistry, JsonCodec
from zatotx.pipeline.error_replies import ErrorReplies
from zatotx.pipeline.pipeline import Pipeline
from zatotx.rules.limits.concurrency_limit import MessageContentLimits
from zatotx.rules.limits.memory_budget import AUTHENTICATED, UNAUTHENTICATED, MemoryBudget, MemoryReservation
from zatotx.testing.pipeline_doubles import (
    OPEN_CHANNEL,
    AllowAllAuthentication,
    FunctionEntry,
    FunctionInvoker,
    FunctionServiceMapHolder,
    MemorySpooledBody,
    make_message,
)
from zatotx.wire.json_codec import exceeds_depth, has_more_keys


def held(value: Any) -> int:
    """Count the commas and containers of a value with a simple algorithm."""
    if isinstance(value, dict | list):
        children = list(value.values()) if isinstance(value, dict) else value
        return 1 + max(0, len(children) - 1) + sum(held(child) for child in children)
    return 0


def depth(value: Any) -> int:
    if isinstance(value, dict | list):
        return 1 + max((depth(child) for child in (value.values() if isinstance(value, dict) else value)), default=0)
    return 0


def made_up(random: Random, deep: int) -> Any:
    """Return a JSON value whose texts contain JSON syntax."""
    kind = random.randrange(6) if deep else random.randrange(3)
    if kind == 0:
        return ''.join(random.choice('[]{},"\\: xé\n') for _ in range(random.randrange(30)))
    if kind == 1:
        return random.randrange(1000)
    if kind == 2:
        return None
    if kind == 3:
        return {f'{random.choice(",[{")}{n}\\"': made_up(random, deep - 1) for n in range(random.randrange(8))}
    return [made_up(random, deep - 1) for _ in range(random.randrange(8))]


class CountingTests(SynchronousTestCase):
    def test_counts_as_the_slow_way_does(self) -> None:
        """Keys and depth are counted correctly with brackets, commas, quotes and backslashes in texts."""
        random = Random(5)
        for _ in range(400):
            value = made_up(random, random.randrange(1, 7))
            body = json.dumps(value, ensure_ascii=random.random() < 0.5).encode()
            keys, deep = held(value), depth(value)
            self.assertFalse(has_more_keys(body, keys), body)
            self.assertFalse(exceeds_depth(body, value, deep), body)
            if deep:
                self.assertTrue(has_more_keys(body, keys - 1), body)
                self.assertTrue(exceeds_depth(body, value, deep - 1), body)

    def test_texts_longer_than_a_slice(self) -> None:
        """Any characters at the border of two slices, including runs of backslashes, are counted correctly."""
        for run in range(65_520, 65_545):
            for text in ('\\' * run + '",[', 'x' * run + '\\",{[', 'x' * run + '"' * 5 + ',,,', '\\"' * (run // 2)):
                body = json.dumps([text, 1, {'a': text}]).encode()
                self.assertFalse(has_more_keys(body, 4), run)
                self.assertTrue(has_more_keys(body, 3), run)

    def test_what_is_no_json_is_counted_in_bounded_time(self) -> None:
        """Counting invalid JSON raises nothing and takes linear time."""
        for body in (b'"' * 2_000_000, b'\\' * 2_000_000, b'",' * 1_000_000, b'[' * 2_000_000, b'\xff,' * 1_000_000):
            self.assertIn(has_more_keys(body, 1000), (True, False))


class CodecTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.codecs = CodecRegistry(MessageContentLimits(json_depth=5, json_keys=20, form_fields=3))
        self.offloaded = 0

    def reply(self, inbound: Message) -> Reply:
        async def echo(inbound: Message, payload: Any) -> ServiceResult:
            return ServiceResult(payload)

        def offload(function: Any, *args: Any) -> Deferred[Any]:
            self.offloaded += 1
            return maybeDeferred(function, *args)

        pipeline = Pipeline(
            authentication=AllowAllAuthentication(),
            store=FunctionServiceMapHolder(FunctionEntry('test.service', echo)),
            invoker=FunctionInvoker(),
            codecs=self.codecs,
            error_replies=ErrorReplies(),
            offload=offload,
        )
        found: list[Reply] = []
        Deferred.fromCoroutine(pipeline.serve(inbound)).addCallback(found.append)
        return found[0]

    def said(self, body: Any, **channel: Any) -> tuple[int, str]:
        reply = self.reply(make_message(body, **channel))
        return reply.status, json.loads(reply.body)['zato_env']['details'] if reply.status != 200 else ''

    def test_depth(self) -> None:
        """The maximum depth is accepted; one more level is 400 with the reason."""
        for opening, middle, closing in ((b'[', b'', b']'), (b'{"a":', b'1', b'}')):
            self.assertEqual(self.said(opening * 5 + middle + closing * 5)[0], 200)
            status, why = self.said(opening * 6 + middle + closing * 6)
            self.assertEqual((status, 'nested more than 5 deep' in why), (400, True))

    def test_keys(self) -> None:
        """The maximum number of keys is accepted; one more is 400 with the reason; brackets in texts do not count."""
        self.assertEqual(self.said(json.dumps(list(range(20))).encode())[0], 200)
        self.assertEqual(self.said(json.dumps(['[{,' * 100] * 10).encode())[0], 200)
        too_much: list[Any] = [list(range(21)), dict.fromkeys('abcdefghijklmnopqrstuvwxyz'), [[]] * 12]
        for body in too_much:
            status, why = self.said(json.dumps(body).encode())
            self.assertEqual((status, 'more than 20 keys and elements' in why), (400, True), body)

    def test_too_many_keys_are_not_decoded(self) -> None:
        """Keys are counted in the text: anything may follow after the limit."""
        self.assertIn('keys and elements', self.said(b'[' + b'1,' * 100 + b'!')[1])

    def test_large_bodies_are_counted_off_the_reactor(self) -> None:
        """A body that must be read in a thread is also counted there; a fast one is read in the reactor."""
        class Body:
            size = 1000

            def __init__(self, quick: bool) -> None:
                self.is_nonblocking = quick

            def read(self) -> bytes:
                return b'[' + b'1,' * 100 + b'1]'

            def close(self) -> None:
                raise AssertionError('the channel closes what it opened')

        for quick, offloaded in ((False, 1), (True, 1)):
            self.assertIn('more than 20 keys', self.said(Body(quick))[1])
            self.assertEqual(self.offloaded, offloaded)

    def test_a_fault_of_a_body_is_the_answer(self) -> None:
        """An error of reading a body determines the reply."""
        class Bomb:
            size, is_nonblocking = 10, True

            def read(self) -> bytes:
                raise ContentTooLarge(None, 'boom')

            def close(self) -> None:
                raise AssertionError('the channel closes what it opened')

        self.assertEqual(self.said(Bomb()), (413, 'boom'))

    def test_form_fields(self) -> None:
        """The maximum number of fields is accepted, one more is 400."""
        headers = {b'content-type': b'application/x-www-form-urlencoded'}
        self.assertEqual(self.said(b'a=1&b=2&c=3', headers=headers)[0], 200)
        status, why = self.said(b'a=1&b=2&c=3&d=4', headers=headers)
        self.assertEqual((status, 'more than 3 pairs' in why), (400, True))

    def test_bodies_without_a_format_are_not_looked_into(self) -> None:
        """Bodies without a format are not inspected."""
        raw = msgspec.structs.replace(OPEN_CHANNEL, data_format='')
        self.assertEqual(self.reply(make_message(b'[' * 1000, channel=raw)).status, 200)

    def test_the_usual_budget(self) -> None:
        """The default is a hundred levels and a hundred thousand keys."""
        codec = JsonCodec()
        codec.decode(make_message(b'[' * 100 + b']' * 100))
        self.assertRaises(BadRequest, codec.decode, make_message(b'[' * 101 + b']' * 101))
        codec.check_size(b'[' + b'1,' * 99_999 + b'1]')
        self.assertRaises(BadRequest, codec.check_size, b'[' + b'1,' * 100_000 + b'1]')


class MemoryTests(SynchronousTestCase):
    """Bodies charged to the memory budget: read and decoded in one step, within the budget of the process."""

    def setUp(self) -> None:
        self.jobs: list[tuple[Deferred[Any], Callable[[], Any]]] = []
        self.held: list[int] = []
        self.memory = MemoryBudget(100_000_000)
        self.replies: list[Reply] = []

    def offload(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        self.jobs.append((Deferred(), partial(function, *args)))
        return self.jobs[-1][0]

    def serve(self, body: bytes, data_format: str, guard: Any = None) -> MemoryReservation:
        """Serve a request with that body in a file; returns the charge that the connector would close."""
        async def note(inbound: Message, payload: Any) -> ServiceResult:
            self.held.append(self.memory.used)
            return ServiceResult('done')

        pipeline = Pipeline(
            authentication=guard or AllowAllAuthentication(),
            store=FunctionServiceMapHolder(FunctionEntry('test.service', note)),
            invoker=FunctionInvoker(),
            codecs=CodecRegistry(),
            error_replies=ErrorReplies(),
            offload=self.offload,
        )
        inbound = make_message(channel=msgspec.structs.replace(OPEN_CHANNEL, data_format=data_format))
        inbound.body = MemorySpooledBody(body)
        charge = inbound.memory_charge = MemoryReservation(self.memory, UNAUTHENTICATED)
        Deferred.fromCoroutine(pipeline.serve(inbound)).addCallback(self.replies.append)
        return charge

    def work(self) -> None:
        while self.jobs:
            done, job = self.jobs.pop(0)
            execute(job).chainDeferred(done)

    def test_read_and_parsed_in_one_go(self) -> None:
        """Bodies that wait for a thread use no memory; a parsed one is charged by its size."""
        document = b'<rows>' + b'<row><name>Anna</name></row>' * 20_000 + b'</rows>'
        charges = [self.serve(document, 'xml') for _ in range(3)]
        self.assertEqual((len(self.jobs), self.memory.used), (3, 0))
        done, job = self.jobs.pop(0)
        execute(job).chainDeferred(done)
        self.assertEqual((len(self.jobs), len(self.replies)), (2, 1))
        (held,) = self.held
        self.assertTrue(15 * len(document) < held < 25 * len(document), held / len(document))
        charges[0].close()
        self.assertEqual(self.memory.used, 0)

    def test_every_format_has_its_weight(self) -> None:
        """JSON and forms are charged by their texts and objects, bytes by their length."""
        euro = json.dumps(['\u20ac' + 'x' * 100_000], ensure_ascii=False).encode()
        for data_format, body, times in (('json', b'[' + b'"x",' * 30_000 + b'"x"]', 18), ('', bytes(100_000), 1),
                                         ('json', b'["' + b'x' * 100_000 + b'"]', 2), ('json', euro, 5),
                                         ('form', b'a=' + b'b' * 50_000, 2)):  # fmt: skip
            charge = self.serve(body, data_format)
            self.work()
            self.assertEqual(round(charge.size / len(body)), times, (data_format, body[:10]))
            charge.close()

    def test_no_room(self) -> None:
        """503 with Retry-After, for the raw body and for its parsed form; authenticated callers may use memory that
        anonymous ones may not."""
        document = b'<rows>' + b'<row/>' * 100_000 + b'</rows>'
        for others, sort, statuses in (
            (49_500_000, UNAUTHENTICATED, (503, 200)),
            (49_999_999, UNAUTHENTICATED, (503, 200)),
            (99_500_000, AUTHENTICATED, (503, 503)),
        ):
            crowd = MemoryReservation(self.memory, sort)
            self.assertTrue(crowd.reserve(others))
            for guard, status in zip((AllowAllAuthentication(), Knows()), statuses, strict=True):
                charge = self.serve(document, 'xml', guard)
                self.work()
                reply = self.replies.pop()
                self.assertEqual(reply.status, status, reply.body)
                if status == 503:
                    self.assertEqual(dict(reply.headers), {b'Retry-After': b'1'})
                charge.close()
            crowd.close()

    def test_what_is_refused_for_good_is_not_charged(self) -> None:
        """A document with more elements than are accepted is 400 however little room there is: it never becomes a
        tree."""
        crowd = MemoryReservation(self.memory, UNAUTHENTICATED)
        self.assertTrue(crowd.reserve(44_000_000))
        self.serve(b'<a>' + b'<a/>' * 1_200_001 + b'</a>', 'xml')
        self.work()
        self.assertEqual(self.replies[0].status, 400)

    def test_over_meanwhile(self) -> None:
        """If the client has disconnected, the thread does not read the body."""
        charge = self.serve(b'<a/>', 'xml')
        charge.close()
        self.work()
        self.assertEqual((self.replies[0].status, self.memory.used, self.held), (503, 0, []))


class Knows(AllowAllAuthentication):
    """Authenticates every caller."""

    def check(self, message: Message) -> Principal:
        return Principal('api.user', kind='basic_auth')
