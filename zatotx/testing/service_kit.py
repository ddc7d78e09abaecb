"""Defines ServiceKit, an in-memory broker for one test. It uses the real pipeline and the real services, but scripted
connections."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import count
from types import TracebackType
from typing import Any, Literal, Self, Unpack, overload

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.interfaces.services import IServiceMap, IServiceMapHolder
from zatotx.model.message import Message, Reply
from zatotx.pipeline.dispatcher import Dispatcher
from zatotx.pipeline.pipeline import Pipeline
from zatotx.rules.redis.data_dictionary import DataDictionary
from zatotx.schema.scheduler_job import SchedulerJob
from zatotx.service.compat.bunch import bunchify
from zatotx.service.service import Service
from zatotx.service.service_entry import ServiceEntry
from zatotx.testing.call_result import Answer, ChannelAnswer, Pending, make_answer, make_channel_answer
from zatotx.testing.clock import KitClock, TestReactorTimers
from zatotx.testing.kit_redis.client import MemoryRedis
from zatotx.testing.kit_redis.service_redis import memory_service_redis
from zatotx.testing.log_recorder import LogRecorder
from zatotx.testing.pipeline_doubles import AllowAllAuthentication, CallCountingStats
from zatotx.testing.recording_invoker import KitCodecs, KitErrorReplies, KitInvoker, KitNode
from zatotx.testing.request_builder import NO_PAYLOAD, Request, build_message
from zatotx.testing.scripted_calls import (
    INACTIVE,
    MISSING,
    SERVICE,
    Call,
    CallMatcher,
    Scripts,
    ServiceScript,
    Unscripted,
    canonical_kind,
)
from zatotx.testing.scripted_connections import OutgoingScripts, ScriptedOutgoing
from zatotx.testing.service_file import ServiceFile


@implementer(IServiceMap, IServiceMapHolder)
class FakeServices:
    """An IServiceMap of services by name. Calling a service that is neither provided nor scripted fails the test."""

    def __init__(self, scripts: Scripts, clock: Any) -> None:
        self._scripts, self._clock = scripts, clock
        self._entries: dict[str, ServiceEntry] = {}

    @property
    def current(self) -> FakeServices:
        """The services themselves, as a test has only one version of them."""
        return self

    def add(self, services: type[Service] | ServiceFile) -> list[str]:
        """Add services and return their names. Raises InvalidServiceClass."""
        return [
            self._add_class(cls) for cls in (services.services if isinstance(services, ServiceFile) else [services])
        ]

    def _add_class(self, cls: type[Service]) -> str:
        """Add one service and return its name. Raises ValueError if the name is taken."""
        name = cls.get_name()
        known = self._entries.get(name)
        if known is not None and known.cls is not cls:
            raise ValueError(f'Two services of this test are called {name}: {known.cls.__name__} and {cls.__name__}')
        if known is None:
            self._entries[name] = ServiceEntry.for_class(cls, name=name, stats=CallCountingStats())
        return name

    def __iter__(self) -> Iterator[ServiceEntry]:
        return iter(self._entries.values())

    def get(self, name: str) -> ServiceEntry | None:
        """Return the service of that name, the scripted one if it has a script; None if the test declares it missing.

        Any other name returns a service that fails the test when it is called.
        """
        script = self._scripts.existing_script(SERVICE, name)
        if script is None and name in self._entries:
            return self._entries[name]
        if script is not None and script.state == MISSING:
            return None
        return self._scripted(name, active=script is None or script.state != INACTIVE)

    def _scripted(self, name: str, *, active: bool) -> ServiceEntry:
        """Create a service that follows its script."""
        scripts, clock = self._scripts, self._clock

        class Scripted(Service):
            """A service that follows its script."""

            async def handle(self) -> None:
                caller = self._zatotx.parent
                call = Call.of((SERVICE, name), 'invoke', (self.request.payload,), {})
                result = scripts.next_result(call, '' if caller is None else caller.entry.name)
                self.response.payload = await result.run(call, self.cid, clock)

        return ServiceEntry.for_class(Scripted, name=name, stats=CallCountingStats(), is_active=active)


STARTS_AT = datetime(2026, 1, 1, tzinfo=UTC)  # the value of self.time when a test begins

Target = type[Service] | str
ServiceSource = type[Service] | ServiceFile


class ObservedEffects:
    """The observable effects of services in a test: log records and calls."""

    def __init__(self) -> None:
        self._scripts = Scripts()
        self._recorder = LogRecorder()

    @property
    def records(self) -> list[logging.LogRecord]:
        """All log records of the services and the broker; those of services have `service` and `cid`."""
        return self._recorder.records

    def logged(self, level: int = logging.INFO) -> list[str]:
        """Return the texts of the records at that level or above."""
        return self._recorder.messages(level)

    def calls(self, kind: str, name: str) -> list[Call]:
        """Return all calls of a connection, in order."""
        return [call for call in self._scripts.calls if (call.kind, call.name) == (canonical_kind(kind), name)]

    def sent(self, kind: str, name: str) -> list[Any]:
        """Return the data sent by a connection: the messages, or the bodies of requests that have one."""
        return [call.data for call in self.calls(kind, name) if call.data is not None]

    def check(self) -> None:
        """Raise AssertionError naming the script entries that were not used."""
        unused = self._scripts.unused()
        if unused:
            raise AssertionError(f'Scripted and never asked for: {"; ".join(unused)}')

    def settled(self) -> None:
        """Raise Unscripted if a service called something that is not scripted, even if the service caught the error."""
        problems, self._scripts.problems = self._scripts.problems, []
        if problems:
            raise Unscripted('\n'.join(problems))


class ServiceKit(ObservedEffects):
    """Runs services in memory. As a context manager, it checks at the end that every script entry was used.

    `services` are classes and files loaded with `load`; a class that is called need not be listed. `user_config` maps
    file -> section -> key -> value. `starts_at` is the value of self.time at second 0 of the clock. `reactor` is the
    running reactor, for services that need one; without it, time advances only by the test or by a call that waits.
    """

    def __init__(self, *services: ServiceSource, user_config: Mapping[str, Any] | None = None,
                 starts_at: datetime = STARTS_AT, reactor: Any = None) -> None:
        super().__init__()
        self.clock = KitClock() if reactor is None else reactor
        offset = starts_at.timestamp() - self.clock.seconds()
        self._redis = memory_service_redis(self.clock, lambda: offset + self.clock.seconds())
        node = KitNode(ScriptedOutgoing(self._scripts, self.clock), self._redis)
        config = bunchify(dict(user_config or {}))
        self._targets = FakeServices(self._scripts, self.clock)
        self._invoker = KitInvoker(self.clock, node, self._recorder, user_config=config)
        self._invoker.now = lambda: offset + self.clock.seconds()
        pipeline = Pipeline(
            authentication=AllowAllAuthentication(),
            store=self._targets,
            invoker=self._invoker,
            codecs=KitCodecs(),
            error_replies=KitErrorReplies(self._recorder),
            offload=_run_inline,
        )
        self._timers: Any = self.clock if reactor is None else TestReactorTimers(reactor)  # of deadlines
        self._dispatcher = Dispatcher(pipeline, self._timers)
        self._numbers = count(1)
        for service in services:
            self._add(service)

    @property
    def outgoing(self) -> OutgoingScripts:
        """The scripts of outgoing connections: `kit.outgoing.rest['CRM'].answers({…})`."""
        return OutgoingScripts(self._scripts)

    @property
    def redis(self) -> MemoryRedis:
        """The Redis in memory that services use: `kit.redis.execute('GET', key)`, `.fail_with(error)`, `.wipe()`."""
        return self._redis.memory

    def add_translation(
        self, system1: str, key1: str, value1: str, system2: str, key2: str, value2: str
    ) -> None:
        """Add a translation for self.translate, with its entries."""
        source, target = (system1, key1, value1), (system2, key2, value2)

        def add(dictionary: DataDictionary) -> None:
            dictionary.ensure_entry(source)
            dictionary.ensure_entry(target)
            dictionary.add_translation(source, target)

        results: list[object] = []
        self._redis.data_dictionary.change(add).addBoth(results.append)
        if isinstance(results[0], Failure):
            results[0].raiseException()

    def invokes(self, name: str) -> ServiceScript:
        """Return the script of another service, which replaces a provided one: `kit.invokes('a.b').answers(…)`."""
        return ServiceScript(self._scripts.script_for(SERVICE, name), CallMatcher())

    def scheduled(self, name: str) -> list[SchedulerJob]:
        """Return the jobs that services created for a service with self.schedule. None of them runs in a test."""
        jobs = (stored.value for stored in self._invoker.node.config.jobs)
        return [job for job in jobs if job.service == name]

    def invoked_async(self, name: str) -> list[Any]:
        """Return the payloads of all asynchronous invocations of a service, in order: of self.invoke_async, and of the
        patterns that use the work stream. None of them runs in a test."""
        return [message.payload for message in self._invoker.node.work.messages if message.service == name]

    @overload
    def call(self, target: Target, payload: Any = ..., *, through_channel: Literal[False] = ...,
             **request: Unpack[Request]) -> Answer: ...

    @overload
    def call(self, target: Target, payload: Any = ..., *, through_channel: Literal[True],
             **request: Unpack[Request]) -> ChannelAnswer: ...

    def call(self, target: Target, payload: Any = NO_PAYLOAD, *, through_channel: bool = False,
             **request: Unpack[Request]) -> Answer | ChannelAnswer:
        """Call a service and return its result; while it waits, the clock advances up to the deadline.

        Returns the result of the service, or raises what it raised. With `through_channel`, returns the response that a
        client of the channel receives, in which an error is a status. Raises Unscripted for calls that the test did not
        script.
        """
        pending = self.start(target, payload, through_channel=through_channel, **request)
        if pending.waiting and isinstance(self.clock, KitClock):
            self.clock.run_until(lambda: not pending.waiting)
        elif pending.waiting:
            raise AssertionError('With a running reactor a call is awaited: answer = await kit.start(…)')
        answer: Answer | ChannelAnswer = pending.answer()
        return answer

    def start(self, target: Target, payload: Any = NO_PAYLOAD, *, through_channel: bool = False,
              **request: Unpack[Request]) -> Pending[Any]:
        """Start calling a service, and return when it has ended or has to wait."""
        name = target if isinstance(target, str) else self._add(target)
        built = build_message(name, payload, request, now=self.clock.seconds(), cid=f'{next(self._numbers):024x}')
        message = built.message
        if through_channel and built.invoke_payload is not NO_PAYLOAD:
            raise TypeError('What one service hands to another has no form in bytes: leave out through_channel')
        read = partial(self._channel_answer if through_channel else self._answer, message)
        pending: Pending[Any] = Pending(f'Service {name}', read, self.settled)
        self._invoker.requests[id(message)] = built
        pending.set_request(self._dispatcher.deliver(message, pending.handle_reply))
        return pending

    def close(self) -> None:
        """Restore the loggers and end the threads. Idempotent."""
        self._recorder.close()
        self._invoker.close()
        if isinstance(self._timers, TestReactorTimers):
            self._timers.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
        if kind is None:
            self.settled()
            self.check()

    def _add(self, source: ServiceSource) -> str:
        names = self._targets.add(source)
        for name in names:
            self._recorder.watch(name)
        return names[0]

    def _answer(self, message: Message, reply: Reply, streamed: bytes | None) -> Answer:
        if reply.error is not None:
            raise reply.error
        return make_answer(self._invoker.outcomes[id(message)], streamed, message.cid)

    def _channel_answer(self, message: Message, reply: Reply, streamed: bytes | None) -> ChannelAnswer:
        return make_channel_answer(reply, streamed, message.cid)


def _run_inline(function: Any, *args: Any) -> Deferred[Any]:
    """Run immediately what a node runs in a worker thread."""
    return maybeDeferred(function, *args)
