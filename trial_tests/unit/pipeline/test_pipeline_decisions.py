"""Tests of the decisions of the pipeline alone: which service may be called by whom, before and after the body."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from zatotx.interfaces.pipeline import NEEDS_BODY
from zatotx.model.errors import Forbidden, Inactive, NotFound, ServiceUnavailable
from zatotx.model.message import ANONYMOUS, Message, Principal, Reply, ServiceResult
from zatotx.pipeline.codecs import CodecRegistry
from zatotx.pipeline.error_replies import ErrorReplies
from zatotx.pipeline.pipeline import Pipeline, require_role
from zatotx.rules.limits.memory_budget import UNAUTHENTICATED, MemoryBudget, MemoryReservation
from zatotx.testing.pipeline_doubles import (
    OPEN_CHANNEL,
    AllowAllAuthentication,
    FunctionEntry,
    FunctionInvoker,
    FunctionServiceMapHolder,
    MemorySpooledBody,
    make_message,
)

CLERK = Principal('clerk', kind='basic_auth', roles=frozenset(['clerk']))
CHANNEL, DOOR = OPEN_CHANNEL, msgspec.structs.replace(OPEN_CHANNEL, is_builtin_endpoint='admin', service='')


async def echo(inbound: Message, payload: Any) -> ServiceResult:
    return ServiceResult(payload)


def entry(name: str = 'test.service', *roles: str, **more: Any) -> FunctionEntry:
    made = FunctionEntry(name, echo, **more)
    made.roles = frozenset(roles)
    return made


class Policy:
    """Gives the same result to every check, by the head and by the body."""

    def __init__(self, by_head: Any, by_body: Any = None) -> None:
        self._by_head, self._by_body = by_head, by_body

    def check(self, message: Message) -> Any:
        return self._by_head

    def check_body(self, message: Message) -> Any:
        return self._by_body


class Slow:
    """A check that takes time, and can be closed before it is awaited."""

    closed = False

    def close(self) -> None:
        self.closed = True

    def __await__(self) -> Any:
        return (yield from Deferred.fromCoroutine(echo(make_message(), None)).__await__())


class DecisionCase(SynchronousTestCase):
    def pipeline(self, *entries: FunctionEntry, guard: Any = None) -> Pipeline:
        return Pipeline(
            authentication=guard or AllowAllAuthentication(),
            store=FunctionServiceMapHolder(*entries),
            codecs=CodecRegistry(),
            invoker=FunctionInvoker(),
            error_replies=ErrorReplies(),
            offload=maybeDeferred,
        )

    def status(self, pipeline: Pipeline, message: Message) -> int:
        reply: Reply = self.successResultOf(Deferred.fromCoroutine(pipeline.serve(message)))
        return reply.status


class RoleTests(DecisionCase):
    def test_who_needs_one(self) -> None:
        """A principal that is known must have a role of the service, unless its endpoint decides itself."""
        guarded = entry('s', 'clerk', 'boss')
        own_service = msgspec.structs.replace(DOOR, service='s')
        for principal, channel, allowed in (
            (None, CHANNEL, True), (CLERK, CHANNEL, True), (ANONYMOUS, CHANNEL, False), (ANONYMOUS, DOOR, False),
            (ANONYMOUS, own_service, True),
        ):  # fmt: skip
            message = make_message(channel=channel)
            message.principal = principal
            if allowed:
                require_role(guarded, message)
            else:
                self.assertRaises(Forbidden, require_role, guarded, message)
            require_role(entry('s'), message)

    def test_by_the_head(self) -> None:
        """A caller without the role is rejected before the service runs, and served with it."""
        for guard, status in ((AllowAllAuthentication(), 403), (Policy(CLERK), 200)):
            pipeline = self.pipeline(entry('test.service', 'clerk'), guard=guard)
            self.assertEqual(self.status(pipeline, make_message()), status)

    def test_by_the_body(self) -> None:
        """A caller known by the body only needs the role as well."""
        for principal, status in ((ANONYMOUS, 403), (CLERK, 200)):
            pipeline = self.pipeline(entry('test.service', 'clerk'), guard=Policy(NEEDS_BODY, principal))
            self.assertEqual(self.status(pipeline, make_message()), status)

    def test_before_the_body_is_read(self) -> None:
        """`authorize` sets the principal and checks the role; an unknown service is not its concern."""
        pipeline = self.pipeline(entry('test.service', 'clerk'), guard=Policy(CLERK))
        message = make_message()
        self.successResultOf(Deferred.fromCoroutine(pipeline.authorize(message)))
        self.assertIs(message.principal, CLERK)
        refused = self.pipeline(entry('test.service', 'boss'), guard=Policy(CLERK)).authorize(make_message())
        self.failureResultOf(Deferred.fromCoroutine(refused), Forbidden)
        unknown = make_message()
        self.successResultOf(Deferred.fromCoroutine(self.pipeline(guard=Policy(CLERK)).authorize(unknown)))
        self.assertIs(unknown.principal, CLERK)
        by_body = make_message()
        pipeline = self.pipeline(entry('test.service', 'boss'), guard=Policy(NEEDS_BODY))
        self.successResultOf(Deferred.fromCoroutine(pipeline.authorize(by_body)))
        self.assertIsNone(by_body.principal)


class FoundTests(DecisionCase):
    def found(self, pipeline: Pipeline, channel: Any, name: str = 'test.service') -> Any:
        message = make_message(channel=channel)
        message.principal = CLERK
        message.service = name
        return pipeline.require_service(pipeline.store.current.get(name), message)

    def test_services(self) -> None:
        """Inactive services, and others than the broker's own on channels for these, are not found."""
        internal_only = msgspec.structs.replace(DOOR, internal_only=True)
        for made, channel, error in (
            (entry(), CHANNEL, None), (entry(active=False), CHANNEL, Inactive), (entry('test.service', 'x'), CHANNEL,
            Forbidden), (entry(), internal_only, NotFound), (entry(internal=True), internal_only, None),
        ):  # fmt: skip
            pipeline = self.pipeline(made)
            if error is None:
                self.assertIs(self.found(pipeline, channel), made)
            else:
                self.assertRaises(error, self.found, pipeline, channel)
            status = self.status(pipeline, make_message(channel=channel))
            self.assertEqual(status, 200 if error is None else error.status)

    def test_suggestions(self) -> None:
        """On an endpoint with many services a caller learns of those that it may call."""
        services = (entry('zato.ping', internal=True), entry('crm.get'), entry('hr.list', 'boss'),
                    entry('hr.find', 'clerk'))  # fmt: skip
        pipeline = self.pipeline(*services)
        internal_only = msgspec.structs.replace(DOOR, internal_only=True)
        own_service = msgspec.structs.replace(DOOR, service='s')
        for channel, names in ((DOOR, ['zato.ping', 'crm.get', 'hr.find']), (internal_only, ['zato.ping']),
                               (own_service, []), (CHANNEL, [])):  # fmt: skip
            message = make_message(channel=channel)
            for principal, expected in ((CLERK, names), (ANONYMOUS, []), (None, [])):
                message.principal = principal
                self.assertEqual([*pipeline._visible_services(message)], expected)
        for name, said in (('hr.fnd', "did you mean 'hr.find'?"), ('hr.lst', 'No such service `hr.lst`')):
            self.assertIn(said, str(self.assertRaises(NotFound, self.found, pipeline, DOOR, name).details))


class LimitTests(DecisionCase):
    def test_a_full_node(self) -> None:
        """`authorize` rejects and counts while the node is full, except on endpoints that are always open."""
        pipeline = self.pipeline(entry(), guard=Policy(CLERK))
        node = pipeline.admission.node
        node.limit = 1
        node.enter()
        self.failureResultOf(Deferred.fromCoroutine(pipeline.authorize(make_message())), ServiceUnavailable)
        self.assertEqual(node.rejected, 1)
        always = msgspec.structs.replace(CHANNEL, serves_while_draining=True)
        self.successResultOf(Deferred.fromCoroutine(pipeline.authorize(make_message(channel=always))))
        self.assertEqual((node.rejected, node.total_active), (1, 1))
        self.assertEqual(self.status(pipeline, make_message()), 503)
        self.assertEqual(self.status(pipeline, make_message(channel=always)), 200)
        node.leave()
        self.assertEqual((self.status(pipeline, make_message()), node.total_active), (200, 0))

    def test_while_closed(self) -> None:
        """While a node starts, only endpoints that are always open answer, whoever is known already."""
        pipeline = self.pipeline(entry())
        pipeline.unavailable_reason = 'The node is starting'
        always = msgspec.structs.replace(CHANNEL, serves_while_draining=True)
        for principal in (None, CLERK):
            for channel, status in ((CHANNEL, 503), (always, 200)):
                message = make_message(channel=channel)
                message.principal = principal
                self.assertEqual(self.status(pipeline, message), status)

    def test_a_check_that_is_not_worth_its_time(self) -> None:
        """A check that takes time is closed where a limit would reject the request anyway."""
        slow, full = Slow(), entry()
        full.concurrency_limit.limit = 0
        self.assertEqual(self.status(self.pipeline(full, guard=Policy(slow)), make_message()), 503)
        self.assertTrue(slow.closed)

    def test_too_late(self) -> None:
        """A request whose deadline passed is marked, so that its service counts as timed out."""
        message = make_message()
        reply = self.pipeline(entry()).timeout_reply(message)
        self.assertEqual((reply.status, message.has_expired), (504, True))
        self.assertEqual(self.pipeline().error_reply(Forbidden('c'), message).status, 403)


class BodyTests(DecisionCase):
    def test_what_a_body_holds(self) -> None:
        """A body in a file is charged by its largest size, and what it did not need is given back; known callers may
        use memory that others may not."""
        for guard, known in ((AllowAllAuthentication(), False), (Policy(CLERK), True)):
            budget = MemoryBudget(1_000)
            message = make_message(channel=msgspec.structs.replace(CHANNEL, data_format=''))
            body = MemorySpooledBody(b'x' * 100)
            body.is_nonblocking, body.max_size = True, 400
            message.body = body
            message.memory_charge = MemoryReservation(budget, UNAUTHENTICATED)
            self.assertEqual(self.status(self.pipeline(entry(), guard=guard), message), 200)
            self.assertEqual((budget.used, message.memory_charge.size), (100, 100))
            other = MemoryReservation(budget, UNAUTHENTICATED)
            self.assertEqual(other.reserve(401), known)

    def test_statistics(self) -> None:
        """Calls are counted once, as failed or not, and none stays in flight."""

        async def fail(inbound: Message, payload: Any) -> ServiceResult:
            raise Forbidden(inbound.cid)

        for function, errors in ((echo, {}), (fail, {'Forbidden': 1})):
            made = FunctionEntry('test.service', function)
            self.status(self.pipeline(made), make_message())
            self.assertEqual((made.stats.in_flight, len(made.stats.times), made.stats.errors), (0, 1, errors))
            self.assertTrue(all(0.0 <= seconds < 60.0 for seconds in made.stats.times))
            self.assertEqual(made.concurrency_limit.total_active, 0)
