"""Results of scripted calls: return a value, raise, or wait on the test's clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater


class ScriptedResult(Protocol):
    """The result of a scripted call."""

    async def run(self, call: Any, cid: str, clock: IReactorTime) -> Any: ...


@define(frozen=True)
class ImmediateResult:
    """Returns immediately what a function returns for the call."""

    make: Callable[[Any], Any]
    make_error: Callable[[str], Exception] | None = None

    @classmethod
    def raising(cls, fault: Callable[[str], Exception]) -> ImmediateResult:
        """Create a result that raises an error naming the request."""
        return cls(lambda call: None, fault)

    async def run(self, call: Any, cid: str, clock: IReactorTime) -> Any:
        if self.make_error is not None:
            raise self.make_error(cid)
        return self.make(call)


@define(frozen=True)
class DelayedResult:
    """Another result after some seconds."""

    seconds: float
    result: ScriptedResult

    async def run(self, call: Any, cid: str, clock: IReactorTime) -> Any:
        if self.seconds > 0:
            await deferLater(clock, self.seconds)
        return await self.result.run(call, cid, clock)


@define(frozen=True)
class NoResult:
    """Waits until the caller cancels."""

    async def run(self, call: Any, cid: str, clock: IReactorTime) -> Any:
        return await Deferred()
