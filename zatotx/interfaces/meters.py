"""What is counted where work is done, and read when somebody asks for the metrics: plain attributes, no locks.

The counters themselves are zatotx.metrics.counters; whoever counts sees them through these interfaces only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface, implementer

_T = TypeVar('_T')

COUNTER, GAUGE, HISTOGRAM, INFO = 'counter', 'gauge', 'histogram', 'info'

MetricRow = tuple[str, tuple[str, ...], float]  # name of a metric, values of its labels, figure


@frozen
class MetricDefinition:
    """One metric. `merge` makes one figure of two workers'; of histograms, sums and buckets are added up."""

    name: str  # as in samples; a counter's has no _total there
    kind: str
    text: str
    labels: tuple[str, ...] = ()
    merge: Callable[[float, float], float] = lambda one, other: one + other
    bounds: tuple[float, ...] = ()  # of a histogram, in seconds

    @property
    def shown(self) -> str:
        """The name that a query uses; a histogram's is followed by _bucket, _sum and _count."""
        return f'{self.name}_total' if self.kind == COUNTER else self.name


class ICallMeter(Interface):
    """Counts calls of one thing: a service, an outgoing connection, Redis, the ODB."""

    in_flight: int = Attribute('Calls under way; raised and lowered by who makes them')

    def observe(seconds: float) -> None:
        """A call ended, well or not."""

    def failed(kind: str) -> None:
        """One of the observed calls ended in an error, whose class has that name."""


class IOutgoingMeter(ICallMeter):
    """Counts what one outgoing connection does."""

    circuit_open: bool = Attribute('Its circuit breaker lets nothing through now, or one call to try')
    circuit_half_open: bool = Attribute('That call is under way')
    circuits_opened: int = Attribute('Raised when its circuit breaker opens, a try that failed aside')
    retries: int = Attribute('Raised when a call is made once more')


class IChannelMeter(Interface):
    """Counts what one channel takes and answers."""

    requests: int = Attribute('Raised when a request or message was taken')

    def answered(hundreds: int, seconds: float) -> None:
        """One of them is over: answered with a status of `hundreds`xx, or 0 where nobody waited any more."""


class IMeters(Interface):
    """The meters of one kind of things, by name. Bounded: when there are too many, further names share one."""

    def of(name: str) -> Any:
        """The meter of that name, made when there is none."""

    def only(names: Iterable[str]) -> None:
        """These are all there are: meters of other names are forgotten, and their figures vanish."""


class NoMeter:
    """A meter of every kind that counts nothing."""

    in_flight = 0
    requests = 0
    circuit_open = False
    circuit_half_open = False
    circuits_opened = 0
    retries = 0

    def observe(self, seconds: float) -> None:
        """See ICallMeter."""

    def failed(self, kind: str) -> None:
        """See ICallMeter."""

    def answered(self, hundreds: int, seconds: float) -> None:
        """See IChannelMeter."""


class UserMetrics(Protocol):
    """IUserMetrics as type checkers read it that know nothing of zope.interface."""

    def incr(self, name: str, by: float = 1) -> None:
        """Raise the counter of that name. Raises ValueError for a negative number: counters only grow."""

    def gauge(self, name: str, value: float) -> None:
        """Say how much of something there is now."""

    def timing(self, name: str, seconds: float) -> None:
        """Say how long something took."""


class IUserMetrics(Interface):
    """What services count of their own, as `self.metrics`. Any thread may call; nothing waits."""

    def incr(name: str, by: float = 1) -> None:
        """Raise the counter of that name. Raises ValueError for a negative number: counters only grow."""

    def gauge(name: str, value: float) -> None:
        """Say how much of something there is now."""

    def timing(name: str, seconds: float) -> None:
        """Say how long something took."""


@implementer(IUserMetrics)
class NoUserMetrics:
    """Where nobody looks at them: services without a node."""

    def incr(self, name: str, by: float = 1) -> None:
        """See IUserMetrics."""

    def gauge(self, name: str, value: float) -> None:
        """See IUserMetrics."""

    def timing(self, name: str, seconds: float) -> None:
        """See IUserMetrics."""


@implementer(IMeters)
class _NoMeters:
    def of(self, name: str) -> Any:
        return NoMeter()

    def only(self, names: Iterable[str]) -> None:
        """There is nothing to forget."""


def no_meter(kind: str) -> IMeters:
    """Meters that count nothing: for what is built without a node."""
    return _NoMeters()


def count_call(meter: Any, seconds: Callable[[], float], doing: Deferred[_T]) -> Deferred[_T]:
    """The same Deferred, counted as one call of an ICallMeter. Being cancelled is no error of what was called."""
    began = seconds()
    meter.in_flight += 1

    def over(result: Any) -> Any:
        meter.in_flight -= 1
        meter.observe(seconds() - began)
        if isinstance(result, Failure) and result.type is not CancelledError:
            meter.failed(result.type.__name__ if result.type is not None else '')
        return result

    return doing.addBoth(over)
