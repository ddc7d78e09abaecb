"""Concurrency limits of the pipeline: which requests are admitted, queued or rejected, and that every limit is
released.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zatotx.interfaces.pipeline import IPendingRequest
from zatotx.model.errors import BadRequest, Unauthorized
from zatotx.model.message import ChannelSpec, Message, Principal, Reply, ServiceResult
from zatotx.pipeline.admission import QUEUE_CHECK_INTERVAL, Admission
from zatotx.pipeline.codecs import CodecRegistry
from zatotx.pipeline.dispatcher import Dispatcher
from zatotx.pipeline.error_replies import ErrorReplies
from zatotx.pipeline.pipeline import Pipeline
from zatotx.plugins.http.schema import RestChannel
from zatotx.rules.limits.concurrency_limit import ConcurrencyLimit
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.testing.pipeline_doubles import (
    OPEN_CHANNEL,
    AllowAllAuthentication,
    FunctionEntry,
    FunctionInvoker,
    FunctionServiceMapHolder,
    make_message,
)


class HashingGuard:
    """An authentication policy that takes time for every request; counts its checks and the hashes it started."""

    def __init__(self) -> None:
        self.asked = 0
        self.hashing: list[Deferred[Principal]] = []

    def check(self, inbound: Message) -> Any:
        self.asked += 1
        return self._hash()

    async def _hash(self) -> Principal:
        waiting: Deferred[Principal] = Deferred()
        self.hashing.append(waiting)
        return await waiting


class AdmissionCase(SynchronousTestCase):
    """A dispatcher whose service holds each request until the test ends it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.holding: list[Deferred[None]] = []
        self.served: list[str] = []
        self.replies: list[Reply] = []
        self.entry = FunctionEntry('test.service', self.hold)
        self.admission = Admission(self.clock, node=ConcurrencyLimit(100))
        self.make(AllowAllAuthentication())

    def make(self, guard: Any) -> None:
        self.pipeline = Pipeline(
            authentication=guard,
            store=FunctionServiceMapHolder(self.entry),
            invoker=FunctionInvoker(),
            codecs=CodecRegistry(),
            error_replies=ErrorReplies(),
            offload=maybeDeferred,
            admission=self.admission,
        )
        self.exchange = Dispatcher(self.pipeline, self.clock)

    async def hold(self, inbound: Message, payload: Any) -> ServiceResult:
        self.served.append(inbound.cid)
        waiting: Deferred[None] = Deferred()
        self.holding.append(waiting)
        await waiting
        return ServiceResult(payload)

    def send(self, cid: str = 'x', channel: ChannelSpec = OPEN_CHANNEL, **more: Any) -> IPendingRequest:
        inbound = make_message(channel=channel, **more)
        inbound.cid = cid
        inbound.deadline += self.clock.seconds()
        return self.exchange.deliver(inbound, self.replies.append)

    def end_one(self) -> None:
        """End the oldest request in progress."""
        self.holding.pop(0).callback(None)
        self.clock.advance(0)

    def refused(self) -> Reply:
        """Return the last reply, a rejection with everything that clients need to retry."""
        reply = self.replies.pop()
        self.assertEqual(reply.status, 503)
        ((name, value),) = reply.headers
        self.assertEqual((name, value.isdigit() and int(value) >= 1), (b'Retry-After', True))
        return reply

    def details(self, reply: Reply) -> str:
        return str(json.loads(reply.body)['zato_env']['details'])


class ServiceLimitTests(AdmissionCase):
    def test_over_the_limit_of_a_service_is_503_at_once(self) -> None:
        """The reply has Retry-After and names the service; the next request is served once one has ended."""
        self.entry.concurrency_limit.limit = 2
        for cid in 'abc':
            self.send(cid)
        self.assertIn('Service test.service is processing 2 requests', self.details(self.refused()))
        self.assertEqual((self.served, self.entry.concurrency_limit.rejected), (['a', 'b'], 1))
        self.end_one()
        self.assertEqual(self.replies.pop().status, 200)
        self.send('d')
        self.assertEqual(self.served, ['a', 'b', 'd'])

    def test_places_are_given_back_however_a_request_ends(self) -> None:
        """After success, an error, bad input, a deadline, a disconnect, and failed authentication."""
        async def raising(inbound: Message, payload: Any) -> ServiceResult:
            raise ValueError('inside')

        async def refusing(inbound: Message, payload: Any) -> ServiceResult:
            raise BadRequest(inbound.cid, 'no')

        channel = msgspec.structs.replace(OPEN_CHANNEL, max_in_flight=5)
        self.send(channel=channel)
        self.end_one()
        for function in (raising, refusing):
            self.entry.function = function
            self.send(channel=channel)
        self.entry.function = self.hold
        self.send(channel=channel, body=b'{')
        self.send(channel=channel, deadline=1.0)
        self.send(channel=channel).cancel()
        self.clock.advance(2)

        class Refusing:
            def check(self, inbound: Message) -> Principal:
                raise Unauthorized(inbound.cid)

        self.make(Refusing())
        self.send(channel=channel)
        self.assertEqual([reply.status for reply in self.replies], [200, 500, 400, 400, 504, 401])
        entrance = self.admission.queue_of(channel)
        inside = [
            gate.total_active
            for gate in (self.entry.concurrency_limit, entrance.concurrency_limit, self.admission.node)
        ]
        self.assertEqual((inside, self.entry.stats.in_flight), ([0, 0, 0], 0))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_service_that_ignores_its_cancellation_keeps_its_place(self) -> None:
        """The caller gets 504, but the service still counts until it has ended."""
        stubborn: Deferred[None] = Deferred(lambda deferred: None)

        async def ignoring(inbound: Message, payload: Any) -> ServiceResult:
            waiting: Deferred[None] = Deferred()
            try:
                await waiting
            finally:
                await stubborn
            return ServiceResult('')

        self.entry.function = ignoring
        self.send(deadline=1.0)
        self.clock.advance(2)
        self.assertEqual((self.replies.pop().status, self.entry.concurrency_limit.total_active), (504, 1))
        stubborn.callback(None)
        self.assertEqual(self.entry.concurrency_limit.total_active, 0)

    def test_what_is_turned_away_is_not_decoded(self) -> None:
        """A malformed body gets 503 like any other, because it is not decoded."""
        self.entry.concurrency_limit.limit = 1
        self.send()
        self.send(body=b'{"a": ')
        self.refused()

    def test_no_password_is_hashed_for_what_would_be_turned_away(self) -> None:
        """The limit is checked before a password is hashed."""
        self.entry.concurrency_limit.limit = 1
        self.send()
        guard = HashingGuard()
        self.make(guard)
        self.send()
        self.refused()
        self.assertEqual((guard.asked, guard.hashing), (1, []))

    def test_a_place_lost_while_a_password_was_hashed(self) -> None:
        """The limit holds for requests that were authenticated at the same time."""
        guard = HashingGuard()
        self.make(guard)
        self.entry.concurrency_limit.limit = 1
        self.send('a')
        self.send('b')
        for waiting in guard.hashing:
            waiting.callback(Principal('somebody'))
        self.assertEqual(self.served, ['a'])
        self.refused()

    def test_the_head_alone_is_turned_away(self) -> None:
        """A request is rejected before its body is requested, by service, channel and node."""
        answers: list[Reply | None] = []
        channel = msgspec.structs.replace(OPEN_CHANNEL, max_in_flight=1)
        self.exchange.authenticate(make_message(), answers.append)
        self.assertEqual(answers, [None])
        for gate in (
            self.entry.concurrency_limit,
            self.admission.node,
            self.admission.queue_of(channel).concurrency_limit,
        ):
            limit, gate.limit = gate.limit, 1
            gate.enter()
            self.exchange.authenticate(make_message(channel=channel), answers.append)
            reply = answers.pop()
            assert reply is not None
            self.assertEqual(reply.status, 503)
            gate.leave()
            gate.limit = limit
        self.assertEqual((self.entry.concurrency_limit.total_active, self.admission.node.total_active), (0, 0))


class NodeLimitTests(AdmissionCase):
    def test_over_the_limit_of_a_node_is_503_at_once(self) -> None:
        """Requests for any service are rejected without authentication."""
        self.admission.node.limit = 1
        guard = HashingGuard()
        self.make(guard)
        self.send()
        self.send()
        self.assertIn('The server is processing 1 requests', self.details(self.refused()))
        self.assertEqual(guard.asked, 1)

    def test_health_is_never_refused_and_never_counted(self) -> None:
        """ping, live, ready and metrics respond on a node at its limit, and do not count."""
        health = ChannelSpec(name='ping', kind='http-soap', service='test.service', serves_while_draining=True)
        self.admission.node.limit = self.entry.concurrency_limit.limit = 1
        self.send('a')
        self.send('b', channel=health)
        self.send('c', channel=health)
        self.assertEqual(self.served, ['a', 'b', 'c'])
        self.assertEqual((self.admission.node.total_active, self.entry.concurrency_limit.total_active), (1, 1))


class ChannelLimitTests(AdmissionCase):
    def setUp(self) -> None:
        super().setUp()
        self.channel = msgspec.structs.replace(OPEN_CHANNEL, name='narrow', max_in_flight=1)
        self.queueing = msgspec.structs.replace(self.channel, queue=3, queue_timeout=5.0)

    def test_over_the_limit_of_a_channel_is_503_at_once(self) -> None:
        """Other channels of the same service are not affected."""
        self.send('a', self.channel)
        self.send('b', self.channel)
        self.assertIn('Channel narrow accepts 1 requests at once', self.details(self.refused()))
        self.send('c')
        self.assertEqual(self.served, ['a', 'c'])

    def test_a_queue_is_first_come_first_served(self) -> None:
        """A new request does not overtake waiting ones, even if one has just ended."""
        for cid in 'abc':
            self.send(cid, self.queueing)
        self.assertEqual((self.served, self.replies), (['a'], []))
        self.holding.pop(0).callback(None)  # the place is free, and the turn of the reactor not over
        self.send('d', self.queueing)
        self.clock.advance(0)
        self.assertEqual(self.served, ['a', 'b'])
        for _ in range(3):
            self.end_one()
        self.assertEqual((self.served, [r.status for r in self.replies]), (['a', 'b', 'c', 'd'], [200] * 4))

    def test_a_full_queue_is_503_at_once(self) -> None:
        """The queue is bounded: one request in progress, three waiting, no more."""
        for cid in 'abcde':
            self.send(cid, self.queueing)
        self.assertIn('3 may wait', self.details(self.refused()))
        self.assertEqual(self.admission.queue_of(self.queueing).length, 3)

    def test_waiting_too_long_is_503(self) -> None:
        """After queue_timeout; later requests keep waiting."""
        self.send('a', self.queueing)
        self.send('b', self.queueing)
        self.clock.pump([1.0] * 3)
        self.send('c', self.queueing)
        self.clock.pump([QUEUE_CHECK_INTERVAL] * 45)
        self.refused()
        entrance = self.admission.queue_of(self.queueing)
        self.assertEqual((self.replies, entrance.length, entrance.timed_out), ([], 1, 1))
        self.end_one()
        self.assertEqual(self.served, ['a', 'c'])

    def test_a_client_that_leaves_leaves_the_queue(self) -> None:
        """A disconnected client leaves the queue, the next request takes its turn, and no reply is sent to it."""
        self.send('a', self.queueing)
        gone = self.send('b', self.queueing)
        self.send('c', self.queueing)
        gone.cancel()
        self.assertEqual(self.admission.queue_of(self.queueing).length, 1)
        self.end_one()
        self.assertEqual((self.served, len(self.replies)), (['a', 'c'], 1))

    def test_the_deadline_of_a_request_holds_in_the_queue(self) -> None:
        """The request gets 504 and leaves the queue."""
        self.send('a', self.queueing)
        self.send('b', self.queueing, deadline=1.0)
        self.clock.pump([0.1] * 12)
        self.assertEqual(self.replies.pop().status, 504)
        self.assertEqual(self.admission.queue_of(self.queueing).length, 0)

    def test_a_higher_limit_lets_in_those_who_wait(self) -> None:
        """A changed limit of the channel takes effect at once."""
        for cid in 'abc':
            self.send(cid, self.queueing)
        self.admission.queue_of(msgspec.structs.replace(self.queueing, max_in_flight=3))
        self.clock.advance(QUEUE_CHECK_INTERVAL)
        self.assertEqual(self.served, ['a', 'b', 'c'])

    def test_a_change_of_the_configuration(self) -> None:
        """It applies to waiting requests before new ones arrive; queues of removed channels are dropped once they are
        empty."""
        def snapshot(*channels: RestChannel) -> Snapshot:
            return Snapshot(1, [StoredObject(n, 'channel_rest', one, 1) for n, one in enumerate(channels)])

        def channel(name: str, limit: int | None) -> RestChannel:
            return RestChannel(name=name, url_path=f'/{name}', service='test.service', max_in_flight=limit)

        for cid in 'abc':
            self.send(cid, self.queueing)
        self.admission.apply(snapshot(channel('narrow', 3), channel('other', None)))
        self.clock.advance(QUEUE_CHECK_INTERVAL)
        self.assertEqual(self.served, ['a', 'b', 'c'])
        self.admission.apply(snapshot())
        self.assertEqual([key for key, _ in self.admission.queues()], [('http-soap', 'narrow')])
        for _ in range(3):
            self.end_one()
        self.admission.apply(snapshot(channel('narrow', None)))
        self.assertEqual(list(self.admission.queues()), [])

    def test_a_channel_that_goes_while_somebody_waits(self) -> None:
        """A request that waits in the queue of a removed channel is still admitted."""
        for cid in 'ab':
            self.send(cid, self.queueing)
        self.holding.pop(0).callback(None)
        self.admission.apply(Snapshot(1))
        self.clock.advance(QUEUE_CHECK_INTERVAL)
        self.assertEqual(self.served, ['a', 'b'])

    def test_a_place_that_comes_free_in_another_worker(self) -> None:
        """Capacity freed in another worker is found by the periodic check."""
        elsewhere = [1]
        self.admission = Admission(
            self.clock, make_limit=lambda name, limit: ConcurrencyLimit(limit, count_others=lambda: elsewhere[0])
        )
        self.make(AllowAllAuthentication())
        self.send('a', self.queueing)
        self.assertEqual(self.served, [])
        elsewhere[0] = 0
        self.clock.advance(QUEUE_CHECK_INTERVAL)
        self.assertEqual(self.served, ['a'])

    def test_services_that_end_at_once_are_no_recursion(self) -> None:
        """A queue of thousands of requests that end at once causes no recursion."""
        async def at_once(inbound: Message, payload: Any) -> ServiceResult:
            return ServiceResult('')

        crowded = msgspec.structs.replace(self.queueing, queue=5_000)
        self.admission.node.limit = 10_000
        self.send(channel=crowded)
        self.entry.function = at_once
        for _ in range(5_000):
            self.send(channel=crowded)
        self.end_one()
        self.clock.pump([QUEUE_CHECK_INTERVAL] * 110)
        self.assertEqual((len(self.replies), {reply.status for reply in self.replies}), (5_001, {200}))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_without_a_clock_nobody_waits(self) -> None:
        """Without a clock, as in some tests, requests are rejected instead of queued."""
        self.admission = Admission()
        self.make(AllowAllAuthentication())
        self.send('a', self.queueing)
        self.send('b', self.queueing)
        self.refused()

    def test_nothing_is_left_of_those_who_failed_to_wait(self) -> None:
        """Authentication that fails after the queue was full releases everything."""
        class Failing:
            def check(self, inbound: Message) -> Any:
                return fail(Unauthorized(inbound.cid))

        self.make(Failing())
        self.send('a', self.queueing)
        self.assertEqual(self.replies.pop().status, 401)
        self.assertEqual(self.admission.queue_of(self.queueing).concurrency_limit.total_active, 0)
