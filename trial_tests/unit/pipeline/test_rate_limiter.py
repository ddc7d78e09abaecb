"""Rate limits in the pipeline: what is counted together, what is rejected, and how they work without Redis."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import yaml
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from trial_tests.support.odb import TYPES
from zatotx.interfaces.pipeline import NEEDS_BODY, IAuthenticationPolicy
from zatotx.model.errors import Forbidden, Unauthorized
from zatotx.model.message import ANONYMOUS, Message, Principal, Reply, ServiceResult
from zatotx.node.health_findings import find_weakened_rate_limits
from zatotx.pipeline.codecs import CodecRegistry
from zatotx.pipeline.dispatcher import Dispatcher
from zatotx.pipeline.error_replies import ErrorReplies
from zatotx.pipeline.pipeline import Pipeline
from zatotx.pipeline.rate_limiter import RateLimiter
from zatotx.plugins.http.schema import CHANNEL_REST, RestChannel
from zatotx.rules.enmasse.import_plan import plan_import
from zatotx.rules.limits.rate_buckets import SECOND, GcraRate, RateLimitHeaders
from zatotx.schema.rate_limit import RATE_LIMIT, RateLimit, parse_rate
from zatotx.schema.service_config import ServiceConfig
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.schema.validation import validate
from zatotx.security.basic_auth import BasicAuth
from zatotx.testing.memory_redis_components import MemoryRateBuckets
from zatotx.testing.pipeline_doubles import (
    OPEN_CHANNEL,
    FunctionEntry,
    FunctionInvoker,
    FunctionServiceMapHolder,
    make_message,
)


def errors(**fields: Any) -> dict[str, str]:
    """Return the validation errors of a limit."""
    return dict(validate(RATE_LIMIT, {'name': 'l', **fields})[1])


class SchemaTests(SynchronousTestCase):
    def test_the_forms_of_a_limit(self) -> None:
        """A limit is a number of requests and a period: seconds, minutes, hours, days, or seconds without a unit."""
        self.assertEqual(
            [parse_rate(text) for text in ('100/1m', '10/s', '5 / 2h', '1/d', '100/60', '7/1S')],
            [(100, 60), (10, 1), (5, 7200), (1, 86_400), (100, 60), (7, 1)],
        )
        wrong = ('', '100', '100/', '/1m', '-1/s', '1.5/s', '100/1w', '100/m1', '1/1/1', 'ten/s', '\uff11/s', '1e3/s')
        for text in wrong:
            self.assertIn('such as 100/1m', errors(limit=text)['limit'], text)

    def test_bounds(self) -> None:
        """Limits that cannot be counted, and bursts that take a season to refill, are rejected."""
        self.assertEqual(errors(limit='1000000/1s'), {})
        self.assertEqual(errors(limit='1/31d', burst=3), {})
        self.assertIn('1 to 1000000', errors(limit='0/s')['limit'])
        self.assertIn('1 to 1000000', errors(limit='1000001/s')['limit'])
        self.assertIn('31 days', errors(limit='1/0')['limit'])
        self.assertIn('31 days', errors(limit='1/32d')['limit'])
        self.assertIn('100 days', errors(limit='1/31d', burst=4)['burst'])
        self.assertEqual(set(errors(limit='1/s', burst=0, per='user', when_redis_is_away='maybe')),
                         {'burst', 'per', 'when_redis_is_away'})  # fmt: skip

    def test_every_limit_can_be_counted(self) -> None:
        """Every valid limit is exact in whole nanoseconds, and in Redis's doubles."""
        for limit, burst in (('1000000/1s', None), ('7/31d', 22), ('1/31d', 3), ('999999/31d', 1_000_000), ('3/1s', 1)):
            value, found = validate(RATE_LIMIT, {'name': 'l', 'limit': limit, 'burst': burst})
            self.assertEqual(found, [], limit)
            self.assertEqual(GcraRate.from_limit(*value.rate).burst, value.rate[2])

    def test_a_channel_names_its_limits(self) -> None:
        """A channel lists each limit once."""
        fields = {'name': 'c', 'url_path': '/c', 'service': 's'}
        value, _ = validate(CHANNEL_REST, {**fields, 'rate_limits': ['a', 'b']})
        self.assertEqual(value.rate_limits, ['a', 'b'])
        self.assertEqual(validate(CHANNEL_REST, {**fields, 'rate_limits': ['a', 'a']})[1],
                         [('rate_limits', 'must not name a limit twice')])  # fmt: skip


class FieldsTests(SynchronousTestCase):
    def test_one_limit(self) -> None:
        """Both forms of the header fields agree, in whole seconds."""
        fields = RateLimitHeaders(['api'], [GcraRate.from_limit(100, 60, 100)])
        self.assertEqual(fields.encode((7 * SECOND,)).decode().splitlines(), [
            'RateLimit-Policy: "api";q=100;w=60',
            'RateLimit: "api";r=88;t=7',
            'RateLimit-Limit: 100',
            'RateLimit-Remaining: 88',
            'RateLimit-Reset: 7',
        ])  # fmt: skip

    def test_several_limits(self) -> None:
        """The draft's fields contain all limits; the older ones describe the one with least left, or the longer wait
        among equals."""
        rates = [GcraRate.from_limit(100, 60, 10), GcraRate.from_limit(5, 1, 5), GcraRate.from_limit(1, 1, 3)]
        lines = RateLimitHeaders(['a', 'b', 'c'], rates).encode((0, 2 * SECOND // 5, 0)).decode().splitlines()
        self.assertEqual(lines[0], 'RateLimit-Policy: "a";q=10;w=6, "b";q=5;w=1, "c";q=3;w=3')
        self.assertEqual(lines[1], 'RateLimit: "a";r=10;t=0, "b";r=3;t=1, "c";r=3;t=0')
        self.assertEqual(lines[2:], ['RateLimit-Limit: 5', 'RateLimit-Remaining: 3', 'RateLimit-Reset: 1'])

    def test_any_name_is_ascii(self) -> None:
        """A name cannot end its string or the line."""
        lines = RateLimitHeaders(['żółw "1"\\ 100%\r\n'], [GcraRate.from_limit(1, 1, 1)]).encode((0,))
        self.assertEqual(lines.count(b'\r\n'), 5)
        self.assertIn(b'"%C5%BC%C3%B3%C5%82w %221%22%5C 100%25%0D%0A";q=1;w=1', lines)

    def test_nothing_to_tell(self) -> None:
        """Without limits there are no fields."""
        self.assertEqual(RateLimitHeaders([], []).encode(()), b'')


@implementer(IAuthenticationPolicy)
class _Guard:
    """Identifies callers by a header; some need a body first, some have to be waited for."""

    def __init__(self) -> None:
        self.asked = 0

    def check(self, message: Message) -> Any:
        self.asked += 1
        who = message.headers.get(b'who', b'').decode()
        if who == 'body':
            return NEEDS_BODY
        if who == 'slow':
            return succeed(Principal('slow', 'slow', 'basic_auth'))
        if who == 'forbidden':
            raise Forbidden(message.cid)
        if who == 'wrong':
            raise Unauthorized(message.cid)
        return Principal(who, who, 'basic_auth') if who else ANONYMOUS

    def check_body(self, message: Message) -> Principal:
        who = json.loads(bytes(message.body))['who']  # type: ignore[arg-type]
        if who == 'wrong':
            raise Unauthorized(message.cid)
        return Principal(who, who, 'wss')


class RatesCase(SynchronousTestCase):
    """A dispatcher with rate limits and a clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.shared = MemoryRateBuckets(self.clock)
        self.limiter = RateLimiter(self.shared, now=self.clock.seconds)
        self.served: list[Message] = []
        self.entry = FunctionEntry('test.service', self.serve)
        self.guard = _Guard()
        self.exchange = self.made(self.limiter)
        self.revision = 0

    def made(self, limiter: RateLimiter) -> Dispatcher:
        """Create a node."""
        pipeline = Pipeline(
            authentication=self.guard,
            store=FunctionServiceMapHolder(self.entry),
            invoker=FunctionInvoker(),
            codecs=CodecRegistry(),
            error_replies=ErrorReplies(),
            offload=maybeDeferred,
            rate_limiter=limiter,
        )
        return Dispatcher(pipeline, self.clock)

    async def serve(self, inbound: Message, payload: Any) -> ServiceResult:
        self.served.append(inbound)
        return ServiceResult(payload)

    def limits(self, *limits: RateLimit, channels: tuple[str, ...] = ()) -> None:
        """Put these limits in force, with ids by their order."""
        self.revision += 1
        stored = [StoredObject(number, 'rate_limit', limit, 1) for number, limit in enumerate(limits, 1)]
        if channels:
            channel = RestChannel(name='test', url_path='/t', service='test.service', rate_limits=list(channels))
            stored.append(StoredObject(99, 'channel_rest', channel, 1))
        self.limiter.apply(Snapshot(self.revision, stored))

    def send(self, *names: str, who: str = '', peer: str = '127.0.0.1', body: bytes = b'{}', **more: Any) -> Any:
        """Send a request; returns a list that receives the reply, and the message."""
        channel = msgspec.structs.replace(OPEN_CHANNEL, rate_limits=names, **more)
        inbound = make_message(body, channel=channel, headers={b'who': who.encode()})
        assert inbound.http is not None
        inbound.http.peer = peer
        inbound.deadline += self.clock.seconds()
        replies: list[Reply] = []
        self.exchange.deliver(inbound, replies.append)
        return replies, inbound

    def status(self, *names: str, **options: Any) -> int:
        """Return the status of one request."""
        replies, _ = self.send(*names, **options)
        self.clock.advance(0)
        (reply,) = replies
        return int(reply.status)

    def statuses(self, count: int, *names: str, **options: Any) -> list[int]:
        return [self.status(*names, **options) for _ in range(count)]


HERE = RateLimit(name='here', limit='2/1m', exact=False)
THERE = RateLimit(name='there', limit='2/1m')


class TakeTests(RatesCase):
    def test_over_the_limit(self) -> None:
        """429 names the limit and the time to retry; a request at that time is served, one just before is not."""
        for limit in (HERE, THERE):
            self.limits(limit, channels=('here', 'there'))
            self.assertEqual(self.statuses(2, limit.name), [200, 200])
            replies, inbound = self.send(limit.name)
            self.clock.advance(0)
            (reply,) = replies
            self.assertEqual((reply.status, dict(reply.headers)), (429, {b'Retry-After': b'30'}))
            details = json.loads(reply.body)['zato_env']['details']
            self.assertEqual(details, f'Too many requests: rate limit {limit.name} admits the next one in 30 s')
            self.assertIn(b'r=0;t=60', inbound.rate_limit_state.header_lines())
            self.clock.advance(29.999)
            self.assertEqual(self.status(limit.name), 429)
            self.clock.advance(0.001)
            self.assertEqual(self.statuses(2, limit.name), [200, 429])
        self.assertEqual(self.limiter.refused, {('http-soap', 'test'): 6})
        self.limits()
        self.assertEqual(self.limiter.refused, {}, 'a channel without limits is not counted any more')

    def test_one_that_is_served_knows_how_it_stands(self) -> None:
        """The fields of a served request include the request itself."""
        for limit in (HERE, THERE):
            self.limits(limit)
            replies, inbound = self.send(limit.name)
            self.clock.advance(0)
            self.assertEqual(replies[0].status, 200)
            self.assertIn(b'RateLimit-Remaining: 1\r\nRateLimit-Reset: 30\r\n', inbound.rate_limit_state.header_lines())

    def test_without_limits(self) -> None:
        """Nothing is counted, and no fields are sent."""
        _, inbound = self.send()
        self.assertEqual((inbound.rate_limit_state, self.shared.charged_names), (None, []))

    def test_per_channel(self) -> None:
        """Channels with the same limit have separate buckets."""
        self.limits(HERE)
        self.assertEqual(self.statuses(3, 'here'), [200, 200, 429])
        self.assertEqual(self.status('here', name='other'), 200)

    def test_per_principal(self) -> None:
        """Each user has one bucket for all channels with the limit; anonymous callers have that of their address."""
        for exact in (False, True):
            self.limits(RateLimit(name='each', limit='2/1m', per='principal', exact=exact))
            self.assertEqual(self.statuses(3, 'each', who='anna'), [200, 200, 429])
            self.assertEqual(self.status('each', who='anna', name='other'), 429)
            self.assertEqual(self.statuses(3, 'each', who='slow'), [200, 200, 429])
            self.assertEqual(self.statuses(3, 'each'), [200, 200, 429])
            self.assertEqual(self.statuses(3, 'each', peer='127.0.0.2'), [200, 200, 429])

    def test_per_address(self) -> None:
        """The address counts, whoever is logged in; for IPv6 it is a customer's whole network."""
        self.limits(RateLimit(name='each', limit='2/1m', per='address', exact=False))
        self.assertEqual([self.status('each', who=who) for who in ('anna', 'bert', 'anna')], [200, 200, 429])
        self.assertEqual(self.status('each', peer='127.0.0.2'), 200)
        for address in ('2001:db8::1', '2001:db8::2'):
            self.assertEqual(self.status('each', peer=address), 200)
        self.assertEqual(self.status('each', peer='2001:db8:0:0:ffff::3'), 429)
        self.assertEqual(self.status('each', peer='2001:db8:0:1::1'), 200)

    def test_all_limits_or_none(self) -> None:
        """A request rejected by one limit does not count against the others, local or exact."""
        for wide in (RateLimit(name='wide', limit='3/1m', exact=False), RateLimit(name='wide', limit='3/1m')):
            for narrow in (HERE, THERE):
                self.limiter = RateLimiter(MemoryRateBuckets(self.clock), now=self.clock.seconds)
                self.exchange = self.made(self.limiter)
                self.limits(narrow, wide)
                self.assertEqual(self.statuses(4, narrow.name, 'wide'), [200, 200, 429, 429])
                self.assertEqual(self.statuses(2, 'wide'), [200, 429], (wide.exact, narrow.name))

    def test_one_question_a_request(self) -> None:
        """Exact limits need one call to Redis per request, none if a local limit rejects it."""
        self.limits(HERE, THERE, RateLimit(name='each', limit='9/1m', per='address'))
        self.assertEqual(self.statuses(3, 'here', 'there', 'each'), [200, 200, 429])
        self.assertEqual(self.shared.charged_names, [('2:channel:2/60/2:test', '3:address:9/60/9:127.0.0.1')] * 2)

    def test_unknown_and_inactive_limits(self) -> None:
        """They are ignored."""
        self.limits(msgspec.structs.replace(HERE, limit='1/1m', is_active=False))
        self.assertEqual(self.statuses(3, 'here', 'nothing'), [200] * 3)

    def test_a_limit_that_is_renamed_goes_on(self) -> None:
        """It keeps its counts, also under its old name until the channels have changed."""
        self.limits(HERE)
        self.assertEqual(self.statuses(2, 'here'), [200, 200])
        self.limits(msgspec.structs.replace(HERE, name='hither'))
        self.assertEqual((self.status('here'), self.status('hither')), (429, 429))
        self.limits(msgspec.structs.replace(HERE, name='hither'))
        self.assertEqual((self.status('here'), self.status('hither')), (200, 429))

    def test_a_change_holds_at_once(self) -> None:
        """It resets the counts of callers who had exhausted the limit."""
        self.limits(HERE)
        self.assertEqual(self.statuses(3, 'here'), [200, 200, 429])
        self.limits(msgspec.structs.replace(HERE, limit='4/1m'))
        self.assertEqual(self.statuses(5, 'here'), [200] * 4 + [429])
        self.limits()
        self.limits()
        self.assertEqual(self.statuses(3, 'here'), [200] * 3)

    def test_a_client_that_leaves(self) -> None:
        """A disconnect during the call to Redis serves nothing and delays nobody."""
        self.limits(THERE)
        channel = msgspec.structs.replace(OPEN_CHANNEL, rate_limits=('there',))
        inbound = make_message(channel=channel)
        inbound.deadline += self.clock.seconds()
        replies: list[Reply] = []
        self.exchange.deliver(inbound, replies.append).cancel()
        self.clock.advance(0)
        self.assertEqual((replies, self.served), ([], []))
        self.assertEqual(self.status('there'), 200)

    def test_two_nodes(self) -> None:
        """They share exact limits only."""
        other = self.made(RateLimiter(self.shared, now=self.clock.seconds))
        self.limits(HERE, THERE)
        snapshot = Snapshot(1, [StoredObject(1, 'rate_limit', HERE, 1), StoredObject(2, 'rate_limit', THERE, 1)])
        other._pipeline.rate_limiter.apply(snapshot)  # no other way in but a whole node
        self.assertEqual(self.statuses(2, 'there'), [200, 200])
        self.assertEqual(self.statuses(2, 'here'), [200, 200])
        self.exchange = other
        self.assertEqual((self.status('there'), self.status('here')), (429, 200))


class StrangerTests(RatesCase):
    """Requests that fail authentication."""

    def test_guessing_is_limited(self) -> None:
        """Failed requests count per address and channel: over the limit they get 429, with right or wrong
        credentials."""
        for per in ('address', 'channel'):
            for exact in (False, True):
                self.limits(RateLimit(name=f'{per}{exact}', limit='2/1m', per=per, exact=exact))
                self.assertEqual(self.statuses(3, f'{per}{exact}', who='wrong'), [401, 401, 429])
                self.assertEqual(self.status(f'{per}{exact}', who='anna'), 429)
                self.clock.advance(1000)
        self.assertEqual(self.served, [])

    def test_the_forbidden(self) -> None:
        """Forbidden requests count, too."""
        self.limits(RateLimit(name='each', limit='2/1m', per='address', exact=False))
        self.assertEqual(self.statuses(3, 'each', who='forbidden'), [403, 403, 429])

    def test_nobody_is_counted_as_somebody(self) -> None:
        """Limits per principal do not apply to requests without one, and are not used up by them."""
        self.limits(RateLimit(name='each', limit='1/1m', per='principal', exact=False))
        self.assertEqual(self.statuses(3, 'each', who='wrong'), [401] * 3)
        self.assertEqual(self.status('each', who='anna'), 200)


class BodyTests(RatesCase):
    """Authentication by the body."""

    both = (RateLimit(name='address', limit='4/1m', per='address'), RateLimit(name='each', limit='2/1m',
            per='principal'))  # fmt: skip

    def test_each_limit_is_asked_when_it_can_be(self) -> None:
        """The address's limit is checked before the body is decoded, the principal's after; each request counts once
        per limit."""
        self.limits(*self.both)
        anna, bert = b'{"who": "anna"}', b'{"who": "bert"}'
        self.assertEqual(self.statuses(3, 'address', 'each', who='body', body=anna), [200, 200, 429])
        self.assertEqual(self.status('address', 'each', who='body', body=bert), 200)
        self.assertEqual(self.status('address', 'each', who='body', body=b'{'), 429)

    def test_wrong_ones_count(self) -> None:
        """Failed requests count for their address."""
        self.limits(*self.both)
        wrong = b'{"who": "wrong"}'
        self.assertEqual(self.statuses(5, 'address', 'each', who='body', body=wrong), [401] * 4 + [429])


class AdmitTests(RatesCase):
    """Bodies sent after the head was admitted (Expect: 100-continue), or large ones."""

    def admit(self, who: str) -> tuple[list[Reply | None], Message]:
        channel = msgspec.structs.replace(OPEN_CHANNEL, rate_limits=('each', 'address'))
        inbound = make_message(b'{"who": "anna"}', channel=channel, headers={b'who': who.encode()})
        inbound.deadline += self.clock.seconds()
        said: list[Reply | None] = []
        self.exchange.authenticate(inbound, said.append)
        self.clock.advance(0)
        return said, inbound

    def test_counted_once(self) -> None:
        """They count when the head is admitted, and not again; over the limit no body is requested."""
        self.limits(RateLimit(name='each', limit='2/1m', per='principal'), RateLimit(name='address', limit='3/1m',
                    per='address', exact=False))  # fmt: skip
        for who in ('anna', 'body'):
            said, inbound = self.admit(who)
            self.assertEqual(said, [None])
            replies: list[Reply] = []
            self.exchange.deliver(inbound, replies.append)
            self.clock.advance(0)
            self.assertEqual(replies[0].status, 200)
        said, _ = self.admit('anna')
        self.assertEqual(said[0] and said[0].status, 429)
        said, _ = self.admit('bert')
        self.assertEqual(said, [None])
        said, _ = self.admit('carl')
        self.assertEqual(said[0] and said[0].status, 429)


class AwayTests(RatesCase):
    """Redis is unavailable."""

    def away(self, *settings: str) -> tuple[str, ...]:
        """Create exact limits of two per minute with these settings; returns their names."""
        self.limits(*(RateLimit(name=setting, limit='2/1m', when_redis_is_away=setting) for setting in settings),
                    RateLimit(name='mine', limit='5/1m', exact=False), channels=settings)  # fmt: skip
        self.shared.unavailable_reason = 'Redis is unavailable'
        return settings

    def test_local(self) -> None:
        """The limit applies in this process, and the fields describe it."""
        self.away('local')
        self.assertEqual(self.statuses(3, 'local'), [200, 200, 429])
        self.assertEqual(self.limiter.unchecked, 3)
        _, inbound = self.send('local')
        self.clock.advance(0)
        self.assertIn(b'"local";r=0;t=60', inbound.rate_limit_state.header_lines())

    def test_open(self) -> None:
        """It does not apply and has no fields; local limits still apply."""
        self.away('open')
        self.assertEqual(self.statuses(3, 'open'), [200] * 3)
        self.assertEqual(self.statuses(6, 'open', 'mine'), [200] * 5 + [429])
        _, inbound = self.send('open')
        self.clock.advance(0)
        self.assertEqual(inbound.rate_limit_state.header_lines(), b'')

    def test_closed(self) -> None:
        """Requests get 503 with the reason, and no limit is used up."""
        self.away('closed')
        replies, _ = self.send('closed', 'mine')
        self.clock.advance(0)
        (reply,) = replies
        self.assertEqual((reply.status, dict(reply.headers)), (503, {b'Retry-After': b'1'}))
        self.assertIn('rate limits of channel test cannot be checked', json.loads(reply.body)['zato_env']['details'])
        self.assertEqual(self.statuses(6, 'mine'), [200] * 5 + [429])

    def test_together(self) -> None:
        """Each limit follows its own setting; one that is closed closes the channel."""
        self.away('local', 'open', 'closed')
        self.assertEqual(self.statuses(3, 'local', 'open'), [200, 200, 429])
        self.assertEqual(self.status('local', 'open', 'closed'), 503)

    def test_back(self) -> None:
        """Redis is used again, with the counts it has."""
        self.away('local')
        self.assertEqual(self.statuses(3, 'local'), [200, 200, 429])
        self.shared.unavailable_reason = ''
        self.assertEqual(self.statuses(3, 'local'), [200, 200, 429])

    def test_none_at_all(self) -> None:
        """It works without Redis, as in the test kit for services."""
        self.limiter = RateLimiter(now=self.clock.seconds)
        self.exchange = self.made(self.limiter)
        self.limits(THERE)
        self.assertEqual(self.statuses(3, 'there'), [200, 200, 429])

    def test_told_of(self) -> None:
        """Findings name the limits in use that are weaker while Redis is unavailable."""
        self.away('local', 'open', 'closed')

        class Client:
            problem = 'no connection'

        client: Any = Client()
        found = list(find_weakened_rate_limits(self.limiter, client))
        self.assertEqual(len(found), 3)
        for setting in ('local', 'open', 'closed'):
            self.assertEqual(len([sentence for sentence in found if f'({setting})' in sentence]), 1, setting)
        client.problem = ''
        self.assertEqual(list(find_weakened_rate_limits(self.limiter, client)), [])
        client.problem = 'no connection'
        self.limits(THERE)
        self.assertEqual(list(find_weakened_rate_limits(self.limiter, client)), [])


class DeadlineTests(RatesCase):
    def test_a_deadline_that_passes_meanwhile(self) -> None:
        """The request ends with 504, whatever Redis replies later."""

        class Never:
            def charge(self, names: object, rates: object) -> Deferred[Any]:
                return Deferred()

        self.limiter = RateLimiter(Never(), now=self.clock.seconds)  # type: ignore[arg-type]
        self.exchange = self.made(self.limiter)
        self.limits(THERE)
        replies, _ = self.send('there')
        self.clock.advance(60)
        self.clock.advance(1)
        self.assertEqual([reply.status for reply in replies], [504])
        self.assertEqual(self.served, [])


class DocsTests(SynchronousTestCase):
    def test_the_examples_can_be_imported(self) -> None:
        """Every YAML example on limits and response headers is valid."""
        pages = Path(__file__).resolve().parents[3] / 'docs'
        found = [block for page in ('limits.md', 'http.md') for block in
                 re.findall(r'```yaml\n(.*?)```', (pages / page).read_text('utf-8'), re.DOTALL)]  # fmt: skip
        self.assertGreaterEqual(len(found), 3)
        services = [StoredObject(number, 'service', ServiceConfig(name=name), 1) for number, name in
                    enumerate(('orders.take', 'reports.make'), 1)]  # fmt: skip
        user = StoredObject(9, 'basic_auth', BasicAuth(name='api.user', username='u'), 1)
        for block in found:
            plan = plan_import(yaml.safe_load(block), TYPES, Snapshot(1, [*services, user]), replace=False,
                               verify=lambda hashed, clear: False)  # fmt: skip
            self.assertEqual(plan.errors, (), block)
            self.assertTrue(plan.operations)
