"""Counters stored as plain attributes. Requests increment the counters, and metric scrapes read them.

Only the reactor's thread writes them; any thread may read. A scrape may see a request counted whose duration is not yet
observed, but a counter never decreases.
"""

from __future__ import annotations

from bisect import bisect_left

from zope.interface import implementer

from zatotx.interfaces.meters import ICallMeter
from zatotx.model import errors

LATENCY_BUCKETS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
STALL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PAUSE_BUCKETS = (0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


# Names of errors in labels. Services raise any exceptions, and each name would be a time series.
ERROR_NAMES = frozenset({'BadOutput', 'CancelledError', 'PeerFault', 'SoapFault'} | {
    name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.ServiceError)
})  # fmt: skip
OTHER_ERROR = 'Exception'


class Histogram:
    """A histogram of durations. `buckets[i]` counts the durations of at most `bounds[i]` seconds and more than the
    previous bound; the last bucket counts all longer durations."""

    __slots__ = ('bounds', 'buckets', 'sum')

    def __init__(self, bounds: tuple[float, ...] = LATENCY_BUCKETS) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.buckets[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    @property
    def count(self) -> int:
        """The number of durations observed."""
        return sum(self.buckets)


@implementer(ICallMeter)
class CallCounters(Histogram):
    """Counters of calls, such as those of a service across its versions or of Redis: a histogram of durations, and
    these attributes:

    - `errors`: calls that failed; `errors_by_name` counts them by name of the error, ANY_KIND for errors outside the
    data model;
    - `in_flight`: calls in progress.
    """

    __slots__ = ('errors', 'errors_by_name', 'in_flight')

    def __init__(self) -> None:
        super().__init__(LATENCY_BUCKETS)
        self.errors = 0
        self.in_flight = 0
        self.errors_by_name: dict[str, int] = {}

    @property
    def calls(self) -> int:
        """The number of finished calls, including failed ones: each is observed once."""
        return self.count

    def count_error(self, error_name: str) -> None:
        """Count an observed call as failed."""
        self.errors += 1
        error_name = error_name if error_name in ERROR_NAMES else OTHER_ERROR
        self.errors_by_name[error_name] = self.errors_by_name.get(error_name, 0) + 1


class OutgoingCounters(CallCounters):
    """Counters of one outgoing connection: those of calls, and these attributes:

    - `circuit_open`: its circuit breaker is open or half-open;
    - `circuit_half_open`: its circuit breaker is half-open, with a trial call in progress;
    - `circuits_opened`: how many times it opened, not counting failed trials;
    - `retries`: how many calls were repeated.
    """

    __slots__ = ('circuit_half_open', 'circuit_open', 'circuits_opened', 'retries')

    def __init__(self) -> None:
        super().__init__()
        self.circuit_open = False
        self.circuit_half_open = False
        self.circuits_opened = 0
        self.retries = 0


class ChannelCounters(Histogram):
    """Counters of one channel: a histogram of the time from a request's head to its response, and these attributes:

    - `requests`: requests received;
    - `answers[n]`: responses with status nxx; `answers[0]`: requests whose client disconnected first.
    """

    __slots__ = ('requests', 'responses')

    def __init__(self) -> None:
        super().__init__(LATENCY_BUCKETS)
        self.requests = 0
        self.responses = [0] * 6

    def observe_response(self, status_class: int, seconds: float) -> None:
        """Count a finished request."""
        self.responses[status_class] += 1
        self.buckets[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        self.sum += seconds
