"""The pipeline of a message, without any protocol."""

from __future__ import annotations

import gc
import json
import weakref
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, gatherResults, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zatotx.interfaces.pipeline import NEEDS_BODY, IDispatcher, IPendingRequest
from zatotx.model.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    MethodNotAllowed,
    NotFound,
    ServiceUnavailable,
    Timeout,
    TooManyRequests,
    Unauthorized,
)
from zatotx.model.message import ANONYMOUS, ChannelSpec, Message, Principal, Reply, ServiceResult
from zatotx.pipeline.codecs import CodecRegistry
from zatotx.pipeline.dispatcher import SWEEP_INTERVAL, Dispatcher
from zatotx.pipeline.error_replies import ErrorReplies
from zatotx.pipeline.pipeline import Pipeline
from zatotx.testing.pipeline_doubles import (
    AllowAllAuthentication,
    FunctionEntry,
    FunctionInvoker,
    FunctionServiceMapHolder,
    MemorySpooledBody,
    make_message,
)


class Document:
    """A large object."""


async def echo(inbound: Message, payload: Any) -> ServiceResult:
    return ServiceResult(payload)


class ExchangeCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.replies: list[Reply] = []

    def exchange(self, *entries: FunctionEntry, guard: Any = None) -> Dispatcher:
        self.pipeline = Pipeline(
            authentication=guard or AllowAllAuthentication(),
            store=FunctionServiceMapHolder(*entries),
            invoker=FunctionInvoker(),
            codecs=CodecRegistry(),
            error_replies=ErrorReplies(),
            offload=maybeDeferred,
        )
        return Dispatcher(self.pipeline, self.clock)

    def serve(self, function: Any, inbound: Message | None = None) -> FunctionEntry:
        entry = FunctionEntry('test.service', function)
        self.run_ = self.exchange(entry).deliver(inbound or make_message(), self.replies.append)
        return entry

    def reply(self) -> Reply:
        self.assertEqual(len(self.replies), 1, 'exactly one answer')
        return self.replies[0]

    def details(self) -> Any:
        return json.loads(self.reply().body)['zato_env']['details']


class SynchronousServiceTests(ExchangeCase):
    def test_provides_what_kinds_expect(self) -> None:
        """Dispatcher provides IDispatcher, and its result IPendingRequest."""
        exchange = self.exchange(FunctionEntry('test.service', echo))
        self.assertTrue(IDispatcher.providedBy(exchange))
        self.assertTrue(IPendingRequest.providedBy(exchange.deliver(make_message(), self.replies.append)))

    def test_answers_before_deliver_returns(self) -> None:
        """A service that does not wait is answered in the same call, without a timer."""
        self.serve(echo, make_message(b'{"a": [1, 2]}'))
        self.assertEqual(json.loads(self.reply().body), {'a': [1, 2]})
        self.assertEqual(self.reply().content_type, b'application/json')
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_element_wraps_the_value(self) -> None:
        """A classic SimpleIO response is wrapped in its response element."""
        async def wrapped(inbound: Message, payload: Any) -> ServiceResult:
            return ServiceResult({'a': 1}, element='response')
        self.serve(wrapped)
        self.assertEqual(json.loads(self.reply().body), {'response': {'a': 1}})

    def test_internal_services_carry_zato_env(self) -> None:
        """The response of a zato.* service has zato_env next to its element, with the request's cid."""
        async def internal(inbound: Message, payload: Any) -> ServiceResult:
            return ServiceResult({'pong': 'zato'}, element='zato_ping_response', internal=True)
        self.serve(internal)
        body = json.loads(self.reply().body)
        self.assertEqual(body['zato_env'], {'result': 'ZATO_OK', 'cid': '0123456789abcdef01234567', 'details': ''})
        self.assertEqual(body['zato_ping_response'], {'pong': 'zato'})

    def test_text_and_bytes_go_out_unchanged(self) -> None:
        """Text and bytes of the service are not encoded again."""
        for value in ('žluťoučký', b'\x00\xff'):
            self.replies.clear()

            async def written(inbound: Message, payload: Any, value: str | bytes = value) -> ServiceResult:
                return ServiceResult(value)
            self.serve(written)
            self.assertEqual(self.reply().body, value.encode() if isinstance(value, str) else value)

    def test_success_is_counted_once(self) -> None:
        """Each call is observed with its duration, and a successful one counts no error."""
        entry = self.serve(echo)
        self.assertEqual(len(entry.stats.times), 1)
        self.assertEqual(entry.stats.errors, {})


class RefusalTests(ExchangeCase):
    def test_nothing_is_left_of_what_was_refused(self) -> None:
        """A rejected message is freed with its reply, not by the garbage collector: large unauthenticated documents
        must not accumulate."""
        brought: list[weakref.ref[Any]] = []

        async def refusing(inbound: Message, payload: Any) -> ServiceResult:
            document = Document()
            brought.append(weakref.ref(document))
            try:
                raise ValueError
            except ValueError:
                refusal = Unauthorized(inbound.cid)  # which from here on its own traceback holds
                raise refusal from None

        gc.disable()
        self.addCleanup(gc.enable)
        self.serve(refusing)
        self.assertEqual(self.reply().status, 401)
        self.assertIsNone(brought[0]())

    def test_malformed_json_is_400_and_never_reaches_the_service(self) -> None:
        """Malformed JSON is an error of the caller."""
        called: list[object] = []

        async def recording(inbound: Message, payload: Any) -> ServiceResult:
            called.append(payload)
            return ServiceResult('')
        self.serve(recording, make_message(b'{"a": '))
        self.assertEqual(self.reply().status, 400)
        self.assertIn('Malformed JSON', self.details())
        self.assertEqual(called, [])

    def test_unknown_service_is_404_by_name(self) -> None:
        """The reply contains the unknown name."""
        self.exchange().deliver(make_message(), self.replies.append)
        self.assertEqual(self.reply().status, 404)
        self.assertIn('test.service', self.details())

    def test_inactive_service_is_404(self) -> None:
        """An inactive service is not served."""
        self.exchange(FunctionEntry('test.service', echo, active=False)).deliver(make_message(), self.replies.append)
        self.assertEqual(self.reply().status, 404)
        self.assertIn('is inactive', self.details())

    def test_internal_door_leads_to_internal_services_only(self) -> None:
        """The public API's endpoint does not invoke other services."""
        door = ChannelSpec(name='json', kind='http-soap', service='', internal_only=True, data_format='json')
        self.exchange(FunctionEntry('test.service', echo)).deliver(make_message(channel=door), self.replies.append)
        self.assertEqual(self.reply().status, 404)

    def test_a_caller_who_is_known_by_the_body_needs_the_roles_too(self) -> None:
        """For WS-Security and XPath, roles are checked after the body was decoded."""
        class BodyGuard:
            def check(self, inbound: Message) -> Any:
                return NEEDS_BODY

            def check_body(self, inbound: Message) -> Principal:
                return Principal('partner', 'partner', 'wss', roles=frozenset({inbound.cid}))

        called: list[str] = []

        async def recording(inbound: Message, payload: Any) -> ServiceResult:
            called.append(inbound.cid)
            return ServiceResult('')

        entry = FunctionEntry('test.service', recording)
        entry.roles = frozenset({'payer'})
        exchange = self.exchange(entry, guard=BodyGuard())
        for cid in ('reader', 'payer'):
            inbound = make_message()
            inbound.cid = cid
            exchange.deliver(inbound, self.replies.append)
        self.assertEqual(([reply.status for reply in self.replies], called), ([403, 200], ['payer']))

    def test_closed_pipeline_answers_503_but_for_what_is_always_open(self) -> None:
        """While a node starts, only its health endpoints are served."""
        exchange = self.exchange(FunctionEntry('test.service', echo))
        self.pipeline.unavailable_reason = 'The server is starting'
        exchange.deliver(make_message(), self.replies.append)
        self.assertEqual((self.reply().status, self.details()), (503, 'The server is starting'))
        health = ChannelSpec(name='live', kind='http-soap', service='test.service', serves_while_draining=True)
        exchange.deliver(make_message(channel=health), self.replies.append)
        self.assertEqual(self.replies[1].status, 200)

    def test_each_fault_has_its_status_and_headers(self) -> None:
        """Errors keep their status, text and header fields."""
        cases = [
            (BadRequest('c', 'text'), 400, ()),
            (Unauthorized('c', 'text', 'Basic realm="x"'), 401, ((b'WWW-Authenticate', b'Basic realm="x"'),)),
            (Forbidden('c', 'text'), 403, ()),
            (NotFound('c', 'text'), 404, ()),
            (MethodNotAllowed('c', 'text', ['POST', 'GET']), 405, ((b'Allow', b'GET, POST'),)),
            (Conflict('c', 'text'), 409, ()),
            (TooManyRequests('c', 'text', 7), 429, ((b'Retry-After', b'7'),)),
            (ServiceUnavailable('c', 'text', 3), 503, ((b'Retry-After', b'3'),)),
            (Timeout('c', 'text'), 504, ()),
        ]
        for fault, status, headers in cases:
            self.replies.clear()

            async def failing(inbound: Message, payload: Any, fault: Exception = fault) -> ServiceResult:
                raise fault
            entry = self.serve(failing)
            self.assertEqual((self.reply().status, tuple(self.reply().headers)), (status, headers))
            self.assertEqual(self.details(), 'text')
            self.assertEqual(entry.stats.errors, {type(fault).__name__: 1})

    def test_unexpected_errors_are_500_without_their_text(self) -> None:
        """The caller sees a constant sentence; the traceback is logged once."""
        async def broken(inbound: Message, payload: Any) -> ServiceResult:
            raise ZeroDivisionError('secret inner text')
        self.serve(broken)
        self.assertEqual(self.reply().status, 500)
        self.assertEqual(self.details(), 'An error has occurred')
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_the_first_fault_of_several_calls(self) -> None:
        """A service that awaits several calls with gatherResults fails with the error of the first that failed."""
        async def several(inbound: Message, payload: Any) -> ServiceResult:
            late: Deferred[Any] = fail(Timeout(inbound.cid, 'no answer'))
            both: Deferred[Any] = gatherResults([late, Deferred()], consumeErrors=True)
            return ServiceResult(await gatherResults([both], consumeErrors=True))
        entry = self.serve(several)
        self.assertEqual((self.reply().status, self.details()), (504, 'no answer'))
        self.assertEqual(entry.stats.errors, {'Timeout': 1})

    def test_a_fault_with_a_cid_alone_has_its_usual_text(self) -> None:
        """`raise Forbidden(self.cid)`, as in Zato 3.x, uses the default text: a cid is not a reason."""
        async def failing(inbound: Message, payload: Any) -> ServiceResult:
            raise Forbidden(inbound.cid)
        for cid in ('0123456789abcdef01234567', 'from-the-caller'):
            self.replies.clear()
            asked = make_message()
            asked.cid = cid
            self.serve(failing, asked)
            self.assertEqual((self.reply().status, self.details()), (403, Forbidden.default_message))
        self.assertEqual(Forbidden('0123456789abcdef01234567').details, Forbidden.default_message)
        self.assertEqual(Forbidden('Not you').details, 'Not you')

    def test_exit_in_a_service_ends_the_request_only(self) -> None:
        """sys.exit() in a service is an error of the service."""
        async def leaving(inbound: Message, payload: Any) -> ServiceResult:
            raise SystemExit(1)
        self.serve(leaving)
        self.assertEqual(self.reply().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 1)

    def test_value_without_a_form_is_500(self) -> None:
        """A value that cannot be encoded as JSON is an error of the service, and logged."""
        async def wrong(inbound: Message, payload: Any) -> ServiceResult:
            return ServiceResult(object())
        self.serve(wrong)
        self.assertEqual(self.reply().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)


class NearNameTests(ExchangeCase):
    def test_a_service_that_was_meant(self) -> None:
        """A similar service name is suggested to callers who may invoke any service by name, among those they may
        invoke: not on channels of a single service, and not to anonymous callers."""
        known, hidden = FunctionEntry('crm.get-balance', echo), FunctionEntry('crm.get-balances', echo)
        hidden.roles = frozenset({'root'})
        caller = Principal('ann', 'ann', 'basic_auth')
        for door, principal, meant in ((True, caller, ", did you mean 'crm.get-balance'?"), (False, caller, ''),
                                       (True, ANONYMOUS, '')):
            self.replies.clear()
            channel = ChannelSpec(
                name='test', kind='http-soap', service='', data_format='json', is_builtin_endpoint=door
            )
            inbound = make_message(channel=channel)
            inbound.service, inbound.principal = 'crm.get-balanes', principal
            self.exchange(known, hidden).deliver(inbound, self.replies.append)
            self.assertEqual((self.reply().status, self.details()), (404, f'No such service `crm.get-balanes`{meant}'))


class WaitingServiceTests(ExchangeCase):
    def waiting(self, deadline: float = 60.0) -> Deferred[Any]:
        self.cancelled: list[bool] = []
        something: Deferred[Any] = Deferred(lambda d: self.cancelled.append(True))

        async def patient(inbound: Message, payload: Any) -> ServiceResult:
            return ServiceResult({'got': await something})
        self.entry = self.serve(patient, make_message(deadline=deadline))
        return something

    def test_answers_when_done(self) -> None:
        """A service that waits is answered when it is done, and its deadline is no longer watched."""
        something = self.waiting()
        self.assertEqual((self.replies, self.entry.stats.in_flight), ([], 1))
        something.callback(7)
        self.assertEqual(self.entry.stats.in_flight, 0)
        self.assertEqual(json.loads(self.reply().body), {'got': 7})
        self.clock.advance(SWEEP_INTERVAL)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_is_left_of_what_was_given_up(self) -> None:
        """A message is freed when its service has ended because of a deadline or a disconnect."""
        brought: list[weakref.ref[Any]] = []

        async def patient(inbound: Message, payload: Any) -> ServiceResult:
            document = Document()
            brought.append(weakref.ref(document))
            await Deferred()
            return ServiceResult(document)

        gc.disable()
        self.addCleanup(gc.enable)
        self.serve(patient, make_message(deadline=1.0))
        self.clock.advance(1.0 + SWEEP_INTERVAL)
        self.serve(patient)
        self.run_.cancel()
        self.assertEqual([one() for one in brought], [None, None])

    def test_deadline_answers_504_and_cancels(self) -> None:
        """At the deadline, the caller gets a reply and the service is cancelled."""
        self.waiting(deadline=5.0)
        self.clock.advance(4.9)
        self.assertEqual(self.replies, [])
        self.clock.advance(0.2)
        self.assertEqual(self.reply().status, 504)
        self.assertEqual(self.cancelled, [True])
        self.assertEqual(self.entry.stats.errors, {'Timeout': 1})

    def test_service_that_ignores_its_cancellation_is_answered_all_the_same(self) -> None:
        """A service cannot delay the reply by catching CancelledError."""
        never: Deferred[None] = Deferred()
        more: Deferred[None] = Deferred()

        async def stubborn(inbound: Message, payload: Any) -> ServiceResult:
            try:
                await never
            except CancelledError:
                await more
            return ServiceResult('late')
        self.serve(stubborn, make_message(deadline=1.0))
        self.clock.advance(1.1)
        self.assertEqual(self.reply().status, 504)
        more.callback(None)
        self.assertEqual(self.reply().status, 504)

    def test_cancel_is_silent(self) -> None:
        """When the client disconnects, the service is cancelled; nothing is sent or logged as an error."""
        self.waiting()
        self.run_.cancel()
        self.run_.cancel()
        self.assertEqual((self.replies, self.cancelled, self.entry.stats.in_flight), ([], [True], 0))
        self.clock.advance(SWEEP_INTERVAL)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_foreign_cancellation_is_an_error(self) -> None:
        """If something else cancels what the service waits for, the caller gets an error."""
        something = self.waiting()
        something.cancel()
        self.assertEqual(self.reply().status, 500)

    def test_failure_after_waiting_is_a_reply(self) -> None:
        """An error after an await is reported like one before it."""
        something = self.waiting()
        something.errback(BadRequest('c', 'not so'))
        self.assertEqual((self.reply().status, self.details()), (400, 'not so'))

    def test_what_cannot_be_awaited_is_said(self) -> None:
        """Awaiting anything but a Deferred or a coroutine raises an error in the service."""
        class Foreign:
            def __await__(self) -> Any:
                yield self
        async def astray(inbound: Message, payload: Any) -> ServiceResult:
            try:
                await Foreign()
            except TypeError as error:
                return ServiceResult(str(error))
            return ServiceResult('awaited')
        self.serve(astray)
        self.assertEqual(self.reply().body, b'Services await Deferreds and coroutines, not Foreign')

    def test_values_and_errors_cross_many_awaits(self) -> None:
        """A service may await, catch and await again; each await gets its own result."""
        steps: list[Deferred[int]] = [Deferred() for _ in range(4)]

        async def stepping(inbound: Message, payload: Any) -> ServiceResult:
            seen: list[object] = []
            for step in steps:
                try:
                    seen.append(await step)
                except ValueError as error:
                    seen.append(str(error))
            return ServiceResult(seen)
        self.serve(stepping)
        steps[0].callback(1)
        steps[1].errback(ValueError('two'))
        steps[2].callback(3)
        steps[3].callback(4)
        self.assertEqual(json.loads(self.reply().body), [1, 'two', 3, 4])


class AdmissionTests(ExchangeCase):
    def test_admitted_head_keeps_its_principal(self) -> None:
        """An admitted head is not authenticated again with its body."""
        checks: list[int] = []

        class CountingGuard(AllowAllAuthentication):
            def check(self, inbound: Message) -> Any:
                checks.append(1)
                return super().check(inbound)
        exchange = self.exchange(FunctionEntry('test.service', echo), guard=CountingGuard())
        admitted: list[Reply | None] = []
        inbound = make_message()
        exchange.authenticate(inbound, admitted.append)
        exchange.deliver(inbound, self.replies.append)
        self.assertEqual((admitted, len(checks), self.reply().status), ([None], 1, 200))

    def test_refused_head_has_its_reply(self) -> None:
        """A rejected head gets the same reply as the whole request."""
        class ClosedGuard(AllowAllAuthentication):
            def check(self, inbound: Message) -> Any:
                raise Unauthorized(inbound.cid)
        admitted: list[Reply | None] = []
        self.exchange(guard=ClosedGuard()).authenticate(make_message(), admitted.append)
        [reply] = admitted
        self.assertEqual(reply.status if reply else None, 401)


class CodecTests(ExchangeCase):
    def test_empty_json_body_is_malformed_where_a_body_is_due(self) -> None:
        """POST to a JSON channel without a body is 400, GET is not."""
        self.serve(echo, make_message(b''))
        self.assertEqual(self.reply().status, 400)
        self.replies.clear()
        self.serve(echo, make_message(b'', method='GET'))
        self.assertEqual(self.reply().status, 200)

    def test_form_on_a_json_channel(self) -> None:
        """Browsers and curl may send a form to a JSON channel."""
        headers = {b'content-type': b'application/x-www-form-urlencoded'}
        self.serve(echo, make_message(b'a=1&b=%C5%BE', headers=headers))
        self.assertEqual(json.loads(self.reply().body), {'a': '1', 'b': 'ž'})

    def test_json_that_is_called_a_form(self) -> None:
        """`curl -d` declares everything as a form: JSON on a JSON channel is decoded as JSON, within its limits."""
        headers = {b'content-type': b'application/x-www-form-urlencoded'}
        for body in (b'{"a":"1&2=%41+"}', b' \r\n[1, 2]'):
            self.serve(echo, make_message(body, headers=headers))
            self.assertEqual(json.loads(self.replies.pop().body), json.loads(body))
        for body, wrong in ((b'{"a":', b'Malformed JSON'), (b'[' * 200 + b']' * 200, b'nested more than'),
                            (b'[' + b'1,' * 100_001 + b'1]', b'keys and elements')):  # fmt: skip
            self.serve(echo, make_message(body, headers=headers))
            reply = self.replies.pop()
            self.assertEqual(reply.status, 400)
            self.assertIn(wrong, reply.body)

    def test_raw_channel_gets_bytes(self) -> None:
        """Without a data format, the payload is the raw body."""
        raw = ChannelSpec(name='raw', kind='http-soap', service='test.service')
        self.serve(echo, make_message(b'\x00any', channel=raw))
        self.assertEqual(self.reply().body, b'\x00any')

    def test_text_of_a_raw_channel_is_text(self) -> None:
        """Text responses are sent as text, other responses and errors as JSON."""
        raw = ChannelSpec(name='raw', kind='http-soap', service='test.service')
        for value, content_type in (('é', b'text/plain; charset=utf-8'), ({}, b'application/json')):
            async def answers(inbound: Message, payload: Any, value: Any = value) -> ServiceResult:
                return ServiceResult(value)

            self.serve(answers, make_message(channel=raw))
            self.assertEqual(self.replies.pop().content_type, content_type)

    def test_spooled_body_is_read_back(self) -> None:
        """A body spooled to a file is decoded like any other."""
        inbound = make_message()
        inbound.body = MemorySpooledBody(b'{"a": 1}')
        self.serve(echo, inbound)
        self.assertEqual(json.loads(self.reply().body), {'a': 1})
