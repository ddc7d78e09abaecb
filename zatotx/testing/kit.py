"""A broker in memory for one test: the real way of a message through guard, codec and service, and around it a world
that the test scripts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import count
from types import TracebackType
from typing import Any, Literal, Self, Unpack, overload

from twisted.internet.defer import Deferred, maybeDeferred

from zatotx.model.message import Message, Reply
from zatotx.pipeline.dispatcher import Dispatcher
from zatotx.pipeline.pipeline import Pipeline
from zatotx.service.compat.bunch import bunchify
from zatotx.service.service import Service
from zatotx.testing.call_result import Answer, ChannelAnswer, answer_of, channel_answer_of
from zatotx.testing.clock import Borrowed, KitClock
from zatotx.testing.connections import ScriptedOutgoing, Scripting
from zatotx.testing.fake_pipeline import OpenGuard
from zatotx.testing.fake_services import FakeServices
from zatotx.testing.invoking import KitCodecs, KitFaults, KitInvoker, KitNode
from zatotx.testing.loading import ServiceFile
from zatotx.testing.pending_call import Pending
from zatotx.testing.recorder import Recorder
from zatotx.testing.request_builder import NOTHING, Request, build_message
from zatotx.testing.script import SERVICE, Call, Matcher, Scripts, ServiceScript, Unscripted, canonical_form

STARTS_AT = datetime(2026, 1, 1, tzinfo=UTC)  # what self.time says when a test begins

Target = type[Service] | str
Given = type[Service] | ServiceFile


class Observed:
    """What a test can see of what its services did."""

    def __init__(self) -> None:
        self._scripts = Scripts()
        self._recorder = Recorder()

    @property
    def records(self) -> list[logging.LogRecord]:
        """All that the services and the broker logged, with `service` and `cid` on what services say."""
        return self._recorder.records

    def logged(self, level: int = logging.INFO) -> list[str]:
        """The texts of the records at that level or above."""
        return self._recorder.messages(level)

    def calls(self, kind: str, name: str) -> list[Call]:
        """All calls that were made of a connection, in their order."""
        return [call for call in self._scripts.calls if (call.kind, call.name) == (canonical_form(kind), name)]

    def sent(self, kind: str, name: str) -> list[Any]:
        """What went out by a connection: the messages, or the bodies of the requests that had one."""
        return [call.data for call in self.calls(kind, name) if call.data is not None]

    def check(self) -> None:
        """Raises AssertionError naming what was scripted and never asked for."""
        unused = self._scripts.unused()
        if unused:
            raise AssertionError(f'Scripted and never asked for: {"; ".join(unused)}')

    def settled(self) -> None:
        """Raises Unscripted where a service asked for what the test did not script, even if the service caught it."""
        problems, self._scripts.problems = self._scripts.problems, []
        if problems:
            raise Unscripted('\n'.join(problems))


class ServiceKit(Observed):
    """Runs services in memory. As a context manager it checks at the end that the whole script was played.

    `services`: classes, and files that `load` gave; a class that is called is known without being named. `user_config`:
    file -> section -> key -> value. `starts_at`: what self.time says at second 0 of the clock. `reactor`: the running
    reactor, for services that need one; without it time stands still until the test, or a call that waits, moves it.
    """

    def __init__(self, *services: Given, user_config: Mapping[str, Any] | None = None,
                 starts_at: datetime = STARTS_AT, reactor: Any = None) -> None:
        super().__init__()
        self.clock = KitClock() if reactor is None else reactor
        node = KitNode(ScriptedOutgoing(self._scripts, self.clock))
        config = bunchify(dict(user_config or {}))
        self._targets = FakeServices(self._scripts, self.clock)
        self._invoker = KitInvoker(self.clock, node, self._recorder, user_config=config)
        offset = starts_at.timestamp() - self.clock.seconds()
        self._invoker.now = lambda: offset + self.clock.seconds()
        pipeline = Pipeline(guard=OpenGuard(), store=self._targets, invoker=self._invoker, codecs=KitCodecs(),
                            faults=KitFaults(self._recorder), offload=_here)
        self._timers: Any = self.clock if reactor is None else Borrowed(reactor)  # of the deadlines
        self._exchange = Dispatcher(pipeline, self._timers)
        self._numbers = count(1)
        for given in services:
            self._add(given)

    @property
    def outgoing(self) -> Scripting:
        """The scripts of outgoing connections: `kit.outgoing.rest['CRM'].answers({…})`."""
        return Scripting(self._scripts)

    def invokes(self, name: str) -> ServiceScript:
        """The script of another service, in place of any the kit was given: `kit.invokes('a.b').answers(…)`."""
        return ServiceScript(self._scripts.of(SERVICE, name), Matcher())

    @overload
    def call(self, target: Target, payload: Any = ..., *, through_channel: Literal[False] = ...,
             **request: Unpack[Request]) -> Answer: ...

    @overload
    def call(self, target: Target, payload: Any = ..., *, through_channel: Literal[True],
             **request: Unpack[Request]) -> ChannelAnswer: ...

    def call(self, target: Target, payload: Any = NOTHING, *, through_channel: bool = False,
             **request: Unpack[Request]) -> Answer | ChannelAnswer:
        """Call a service to its end. While it waits, the clock goes on to what comes next, at last to its deadline.

        Gives what the service made, or raises what it raised. With `through_channel` it gives what a client of the
        channel gets, where a fault is a status. Raises Unscripted for what the test did not script.
        """
        pending = self.start(target, payload, through_channel=through_channel, **request)
        if pending.waiting and isinstance(self.clock, KitClock):
            self.clock.run_until(lambda: not pending.waiting)
        elif pending.waiting:
            raise AssertionError('With a running reactor a call is awaited: answer = await kit.start(…)')
        answer: Answer | ChannelAnswer = pending.answer()
        return answer

    def start(self, target: Target, payload: Any = NOTHING, *, through_channel: bool = False,
              **request: Unpack[Request]) -> Pending[Any]:
        """Call a service and come back when it has to wait."""
        name = target if isinstance(target, str) else self._add(target)
        asked = build_message(name, payload, request, now=self.clock.seconds(), cid=f'{next(self._numbers):024x}')
        inbound = asked.inbound
        if through_channel and asked.handed is not NOTHING:
            raise TypeError('What one service hands to another has no form in bytes: leave out through_channel')
        read = partial(self._channel_answer if through_channel else self._answer, inbound)
        pending: Pending[Any] = Pending(f'Service {name}', read, self.settled)
        self._invoker.asked[id(inbound)] = asked
        pending.began(self._exchange.deliver(inbound, pending.replied))
        return pending

    def close(self) -> None:
        """Let go of loggers and threads. Idempotent."""
        self._recorder.close()
        self._invoker.close()
        if isinstance(self._timers, Borrowed):
            self._timers.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
        if kind is None:
            self.settled()
            self.check()

    def _add(self, given: Given) -> str:
        names = self._targets.add(given)
        for name in names:
            self._recorder.watch(name)
        return names[0]

    def _answer(self, inbound: Message, reply: Reply, streamed: bytes | None) -> Answer:
        if reply.error is not None:
            raise reply.error
        return answer_of(self._invoker.outcomes[id(inbound)], streamed, inbound.cid)

    def _channel_answer(self, inbound: Message, reply: Reply, streamed: bytes | None) -> ChannelAnswer:
        return channel_answer_of(reply, streamed, inbound.cid)


def _here(function: Any, *args: Any) -> Deferred[Any]:
    """What goes to a worker thread elsewhere."""
    return maybeDeferred(function, *args)
