"""`ServiceTestCase`: a test case with a kit of its own for every test."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import wraps
from typing import Any, ClassVar, Literal, Unpack, overload
from unittest import TestCase

from zatotx.testing.call_result import Answer, ChannelAnswer
from zatotx.testing.connections import Scripting
from zatotx.testing.kit import STARTS_AT, Given, ServiceKit, Target
from zatotx.testing.pending_call import Pending
from zatotx.testing.request_builder import NOTHING, Request
from zatotx.testing.script import Call, ServiceScript


class ServiceTesting:
    """The words of a service's test, for any test case of unittest or of trial: list it before that one.

    What is on the class says what every test begins with. No setUp is needed: the kit is made by the first word.
    """

    services: ClassVar[Sequence[Given]] = ()  # those that are called, or invoked by others, by name
    user_config: ClassVar[Mapping[str, Any]] = {}  # file -> section -> key -> value
    starts_at: ClassVar[datetime] = STARTS_AT  # what self.time says when a test begins
    reactor: ClassVar[Any] = None  # the running reactor, for services that need one
    _kit: ServiceKit | None = None
    _has_failed = False

    def run(self, result: Any = None) -> Any:
        """As the test case beside us does, with the test watched: no test case tells its cleanups whether it failed."""
        name = self._testMethodName  # type: ignore[attr-defined]  # of the test case beside us
        # Only now: whoever loads tests by their names compares the methods of a case with those of its class.
        setattr(self, name, _watched(self, getattr(self, name)))
        return super().run(result)  # type: ignore[misc]

    @property
    def kit(self) -> ServiceKit:
        """This test's kit. It is checked and closed when the test is over."""
        if self._kit is None:
            self._kit = ServiceKit(*self.services, user_config=self.user_config, starts_at=self.starts_at,
                                   reactor=self.reactor)
            self.addCleanup(_finish, self, self._kit)  # type: ignore[attr-defined]  # of the test case beside us
        return self._kit

    @property
    def outgoing(self) -> Scripting:
        """The scripts of outgoing connections: `self.outgoing.rest['CRM'].answers({…})`."""
        return self.kit.outgoing

    @property
    def clock(self) -> Any:
        """The time: `self.clock.advance(seconds)`, `self.clock.seconds()`."""
        return self.kit.clock

    @property
    def records(self) -> list[logging.LogRecord]:
        """All that was logged."""
        return self.kit.records

    @overload
    def call(self, target: Target, payload: Any = ..., *, through_channel: Literal[False] = ...,
             **request: Unpack[Request]) -> Answer: ...

    @overload
    def call(self, target: Target, payload: Any = ..., *, through_channel: Literal[True],
             **request: Unpack[Request]) -> ChannelAnswer: ...

    def call(self, target: Target, payload: Any = NOTHING, *, through_channel: bool = False,
             **request: Unpack[Request]) -> Answer | ChannelAnswer:
        """See ServiceKit.call."""
        if through_channel:
            return self.kit.call(target, payload, through_channel=True, **request)
        return self.kit.call(target, payload, **request)

    def start(self, target: Target, payload: Any = NOTHING, *, through_channel: bool = False,
              **request: Unpack[Request]) -> Pending[Any]:
        """See ServiceKit.start."""
        return self.kit.start(target, payload, through_channel=through_channel, **request)

    def invokes(self, name: str) -> ServiceScript:
        """The script of another service: `self.invokes('crm.get-rates').answers({…})`."""
        return self.kit.invokes(name)

    def calls(self, kind: str, name: str) -> list[Call]:
        """All calls that were made of a connection, in their order."""
        return self.kit.calls(kind, name)

    def sent(self, kind: str, name: str) -> list[Any]:
        """What went out by a connection: `self.sent('amqp', 'Audit')`."""
        return self.kit.sent(kind, name)

    def logged(self, level: int = logging.INFO) -> list[str]:
        """The texts of what was logged at that level or above."""
        return self.kit.logged(level)


def _watched(case: Any, method: Callable[[], Any]) -> Callable[[], Any]:
    """The test, which notes that it failed."""

    @wraps(method)
    def test() -> Any:
        try:
            return method()
        except BaseException:
            case._has_failed = True
            raise

    return test


def _finish(case: Any, kit: ServiceKit) -> None:
    kit.close()
    kit.settled()
    if not case._has_failed:  # else what is left of the script is a consequence
        kit.check()


class ServiceTestCase(ServiceTesting, TestCase):
    """For unittest, pytest and trial alike: no reactor runs, and none is needed."""


__all__ = ['ServiceTestCase', 'ServiceTesting']
