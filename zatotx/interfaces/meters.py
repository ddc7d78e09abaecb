"""Interfaces of counters. The code for each request increments the counters, and the metrics exposition reads them. The
counters are plain attributes, without locks.

The implementations are in zatotx.metrics.counters; callers see these interfaces only.
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
    """The definition of one metric. `merge` combines the values of two workers. The sums and buckets of histograms are
    always added."""

    name: str  # as in samples, where counters have no _total
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    merge: Callable[[float, float], float] = lambda one, other: one + other
    bounds: tuple[float, ...] = ()  # upper bounds of a histogram's buckets, in seconds

    @property
    def query_name(self) -> str:
        """The name used in queries; for a histogram, _bucket, _sum and _count are appended."""
        return f'{self.name}_total' if self.kind == COUNTER else self.name


class ICallMeter(Interface):
    """Counts the calls of one service, of one outgoing connection, of Redis or of the ODB."""

    in_flight: int = Attribute('Calls in progress; the caller increments and decrements it')

    def observe(seconds: float) -> None:
        """Record the duration of a completed call, successful or not."""

    def count_error(error_name: str) -> None:
        """Record that an observed call failed. `error_name`: name of the error class."""


class IOutgoingMeter(ICallMeter):
    """Counts the calls of one outgoing connection."""

    circuit_open: bool = Attribute('The circuit breaker is open or half-open')
    circuit_half_open: bool = Attribute('The circuit breaker is half-open and its trial call is in progress')
    circuits_opened: int = Attribute('Number of times the circuit breaker opened, not counting failed trial calls')
    retries: int = Attribute('Number of repeated calls')


class IChannelMeter(Interface):
    """Counts the requests and responses of one channel."""

    requests: int = Attribute('Number of requests or messages received')

    def observe_response(status_class: int, seconds: float) -> None:
        """Record a completed request. `status_class`: first digit of the status, or 0 if the client disconnected."""


class IMeters(Interface):
    """Registry of the meters of one type of object, by name. The number of meters is limited; further names share one
    meter."""

    def get(name: str) -> Any:
        """Return the meter with that name; create it if necessary."""

    def retain(names: Iterable[str]) -> None:
        """Drop the meters, and their metrics, of all other names."""


@implementer(IOutgoingMeter, IChannelMeter)
class NullMeter:
    """A meter that implements every meter interface, and counts nothing."""

    in_flight = 0
    requests = 0
    circuit_open = False
    circuit_half_open = False
    circuits_opened = 0
    retries = 0

    def observe(self, seconds: float) -> None:
        """See ICallMeter."""

    def count_error(self, kind: str) -> None:
        """See ICallMeter."""

    def observe_response(self, hundreds: int, seconds: float) -> None:
        """See IChannelMeter."""


class UserMetrics(Protocol):
    """The methods of IUserMetrics as a typing Protocol, for type checkers that do not support zope.interface."""

    def incr(self, name: str, by: float = 1) -> None:
        """Increment a counter. Raises ValueError for a negative number."""

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge to the current value."""

    def timing(self, name: str, seconds: float) -> None:
        """Record a duration."""


class IUserMetrics(Interface):
    """The metrics that services define and update with `self.metrics`. The methods are thread-safe and do not block."""

    def incr(name: str, by: float = 1) -> None:
        """Increment a counter. Raises ValueError for a negative number."""

    def gauge(name: str, value: float) -> None:
        """Set a gauge to the current value."""

    def timing(name: str, seconds: float) -> None:
        """Record a duration."""


@implementer(IUserMetrics)
class NullUserMetrics:
    """Implements IUserMetrics for services that run without a node, and discards all values."""

    def incr(self, name: str, by: float = 1) -> None:
        """See IUserMetrics."""

    def gauge(self, name: str, value: float) -> None:
        """See IUserMetrics."""

    def timing(self, name: str, seconds: float) -> None:
        """See IUserMetrics."""


@implementer(IMeters)
class _NullMeters:
    def get(self, name: str) -> Any:
        return NullMeter()

    def retain(self, names: Iterable[str]) -> None:
        """Do nothing."""


def null_meters(kind: str) -> IMeters:
    """Return a registry whose meters count nothing, for objects created without a node."""
    return _NullMeters()


def count_call(meter: ICallMeter, clock: Callable[[], float], deferred: Deferred[_T]) -> Deferred[_T]:
    """Count a Deferred as one call, and return the Deferred. A canceled call is not counted as an error."""
    started = clock()
    meter.in_flight += 1

    def finished(result: Any) -> Any:
        meter.in_flight -= 1
        meter.observe(clock() - started)
        if isinstance(result, Failure) and result.type is not CancelledError:
            meter.count_error(result.type.__name__ if result.type is not None else '')
        return result

    return deferred.addBoth(finished)
