"""Defines `ServiceTestCase`, a test case that creates a new ServiceKit for every test."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import wraps
from typing import Any, ClassVar, Literal, Unpack, overload
from unittest import TestCase

from zatotx.testing.call_result import Answer, ChannelAnswer, Pending
from zatotx.testing.kit_redis.client import MemoryRedis
from zatotx.testing.request_builder import NO_PAYLOAD, Request
from zatotx.testing.scripted_calls import Call, ServiceScript
from zatotx.testing.scripted_connections import OutgoingScripts
from zatotx.testing.service_kit import STARTS_AT, ServiceKit, ServiceSource, Target


class ServiceTesting:
    """The methods of a test of services, as a mixin for test cases of unittest or trial. List it before the test case
    class.

    Class attributes configure the kit. No setUp is needed: the kit is created on first use.
    """

    services: ClassVar[Sequence[ServiceSource]] = ()  # services to call, or invoked by others by name
    user_config: ClassVar[Mapping[str, Any]] = {}  # file -> section -> key -> value
    starts_at: ClassVar[datetime] = STARTS_AT  # the value of self.time when a test begins
    reactor: ClassVar[Any] = None  # the running reactor, for services that need one
    _kit: ServiceKit | None = None
    _has_failed = False

    def run(self, result: Any = None) -> Any:
        """Run the test and remember whether it failed, as test cases do not pass this to their cleanups."""
        name = self._testMethodName  # type: ignore[attr-defined]  # of the test case
        # Not earlier: loaders of tests by name compare the methods of an instance with those of its class.
        setattr(self, name, _record_failure(self, getattr(self, name)))
        return super().run(result)  # type: ignore[misc]

    @property
    def kit(self) -> ServiceKit:
        """The kit of this test, which is checked and closed after the test."""
        if self._kit is None:
            self._kit = ServiceKit(*self.services, user_config=self.user_config, starts_at=self.starts_at,
                                   reactor=self.reactor)
            self.addCleanup(_finish, self, self._kit)  # type: ignore[attr-defined]  # of the test case
        return self._kit

    @property
    def outgoing(self) -> OutgoingScripts:
        """The scripts of outgoing connections: `self.outgoing.rest['CRM'].answers({…})`."""
        return self.kit.outgoing

    @property
    def redis(self) -> MemoryRedis:
        """The Redis in memory that services use. See ServiceKit.redis."""
        return self.kit.redis

    @property
    def clock(self) -> Any:
        """The clock: `self.clock.advance(seconds)`, `self.clock.seconds()`."""
        return self.kit.clock

    @property
    def records(self) -> list[logging.LogRecord]:
        """All log records."""
        return self.kit.records

    @overload
    def call(self, target: Target, payload: Any = ..., *, through_channel: Literal[False] = ...,
             **request: Unpack[Request]) -> Answer: ...

    @overload
    def call(self, target: Target, payload: Any = ..., *, through_channel: Literal[True],
             **request: Unpack[Request]) -> ChannelAnswer: ...

    def call(self, target: Target, payload: Any = NO_PAYLOAD, *, through_channel: bool = False,
             **request: Unpack[Request]) -> Answer | ChannelAnswer:
        """See ServiceKit.call."""
        if through_channel:
            return self.kit.call(target, payload, through_channel=True, **request)
        return self.kit.call(target, payload, **request)

    def start(self, target: Target, payload: Any = NO_PAYLOAD, *, through_channel: bool = False,
              **request: Unpack[Request]) -> Pending[Any]:
        """See ServiceKit.start."""
        return self.kit.start(target, payload, through_channel=through_channel, **request)

    def invokes(self, name: str) -> ServiceScript:
        """Return the script of another service: `self.invokes('crm.get-rates').answers({…})`."""
        return self.kit.invokes(name)

    def calls(self, kind: str, name: str) -> list[Call]:
        """Return all calls of a connection, in order."""
        return self.kit.calls(kind, name)

    def sent(self, kind: str, name: str) -> list[Any]:
        """Return all messages sent by a connection: `self.sent('amqp', 'Audit')`."""
        return self.kit.sent(kind, name)

    def logged(self, level: int = logging.INFO) -> list[str]:
        """Return the texts of the records logged at that level or above."""
        return self.kit.logged(level)


def _record_failure(case: Any, method: Callable[[], Any]) -> Callable[[], Any]:
    """Wrap a test to remember that it failed."""

    @wraps(method)
    def test() -> Any:
        try:
            return method()
        except BaseException:
            case._has_failed = True
            raise

    return test


def _finish(case: Any, kit: ServiceKit) -> None:
    """Close and check the kit after a test."""
    kit.close()
    kit.settled()
    if not case._has_failed:  # after a failure, unused script entries are only a consequence
        kit.check()


class ServiceTestCase(ServiceTesting, TestCase):
    """A test case for tests of services with unittest, pytest and trial. It needs no reactor."""


__all__ = ['ServiceTestCase', 'ServiceTesting']
