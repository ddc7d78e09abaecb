"""Counters as plain attributes: what the hot path touches, and what a scrape reads.

Only the reactor's thread writes them; any thread may read. A scrape may see a request counted and its duration not
yet; it never sees a count go back.
"""

from __future__ import annotations

from bisect import bisect_left

from zatotx.model import errors

LATENCY = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
STALLS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PAUSES = (0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


# What an error may be called. Services raise what they like: each name would be a series of its own.
KINDS = frozenset({'BadOutput', 'CancelledError', 'PeerFault', 'SoapFault'} | {
    name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.ServiceError)
})  # fmt: skip
ANY_KIND = 'Exception'


class Histogram:
    """How often each duration was seen. `buckets[i]` counts those of at most `bounds[i]` seconds (and more than the
    bound before); the last bucket has the rest."""

    __slots__ = ('bounds', 'buckets', 'sum')

    def __init__(self, bounds: tuple[float, ...] = LATENCY) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.buckets[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    @property
    def count(self) -> int:
        """How many durations were counted."""
        return sum(self.buckets)


class CallSlots(Histogram):
    """The counters of what is called (a service across its versions, Redis …): the durations of its calls, and

    - `errors`: the calls that ended in an error; `kinds` has them by the name of the fault, ANY_KIND for what is none;
    - `in_flight`: the calls under way.
    """

    __slots__ = ('errors', 'in_flight', 'kinds')

    def __init__(self) -> None:
        super().__init__(LATENCY)
        self.errors = 0
        self.in_flight = 0
        self.kinds: dict[str, int] = {}

    @property
    def calls(self) -> int:
        """The calls that ended, errors included: each is observed once."""
        return self.count

    def failed(self, kind: str) -> None:
        """One of the observed calls ended in an error."""
        self.errors += 1
        kind = kind if kind in KINDS else ANY_KIND
        self.kinds[kind] = self.kinds.get(kind, 0) + 1


class OutgoingSlots(CallSlots):
    """The counters of one outgoing connection, and

    - `circuit_open`: its circuit breaker lets nothing through now, or one call to try;
    - `circuit_half_open`: that call is under way;
    - `circuits_opened`: how often it opened, tries that failed aside;
    - `retries`: how often a call was made once more.
    """

    __slots__ = ('circuit_half_open', 'circuit_open', 'circuits_opened', 'retries')

    def __init__(self) -> None:
        super().__init__()
        self.circuit_open = False
        self.circuit_half_open = False
        self.circuits_opened = 0
        self.retries = 0


class ChannelSlots(Histogram):
    """The counters of one channel: how long its requests took from their head to their answer, and

    - `requests`: those that were taken;
    - `answers[n]`: those answered with a status of nxx; `answers[0]`: those whose client left first.
    """

    __slots__ = ('answers', 'requests')

    def __init__(self) -> None:
        super().__init__(LATENCY)
        self.requests = 0
        self.answers = [0] * 6

    def answered(self, hundreds: int, seconds: float) -> None:
        """One of the requests is over."""
        self.answers[hundreds] += 1
        self.buckets[bisect_left(LATENCY, seconds)] += 1
        self.sum += seconds
