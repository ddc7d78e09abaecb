"""Admission control: the concurrency limits of the node, its channels and services, and the queues of channels.

A request counts against the limit of the node from the moment it arrives, so that requests that wait for anything,
including authentication, are bounded. It counts against the limits of its channel and its service once its principal is
known. Health checks of the broker itself are not limited.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from zatotx.interfaces.services import IServiceEntry
from zatotx.model.errors import Overloaded
from zatotx.model.message import ChannelSpec
from zatotx.rules.limits.concurrency_limit import DEFAULT_NODE_LIMIT, ConcurrencyLimit
from zatotx.schema.snapshot import Snapshot

QUEUE_CHECK_INTERVAL = 0.05  # seconds between two checks of the queues
# requests admitted per check: each may run to completion at once, and the reactor has other work to do
_MAX_ADMITTED_PER_CHECK = 50

ConcurrencyLimitFactory = Callable[
    [str, int], ConcurrencyLimit
]  # (what is limited, for messages; the limit) -> ConcurrencyLimit


class ChannelQueue:
    """The concurrency limit of one channel, and the queue of its waiting requests in order of arrival."""

    __slots__ = ('_channel', '_waiting', 'concurrency_limit', 'rejected', 'timed_out')

    def __init__(self, channel: ChannelSpec, concurrency_limit: ConcurrencyLimit) -> None:
        self._channel = channel
        # -> when it times out, in seconds of the clock
        self._waiting: OrderedDict[Deferred[None], float] = OrderedDict()
        self.concurrency_limit = concurrency_limit
        self.timed_out = 0  # requests that timed out while they waited
        self.rejected = 0  # requests rejected because the queue was full

    @property
    def length(self) -> int:
        """The number of waiting requests."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether the next request could neither be admitted nor wait."""
        return len(self._waiting) >= self._channel.queue and (bool(self._waiting) or self.concurrency_limit.is_full)

    def update_channel(self, channel: ChannelSpec) -> None:
        """Apply the limits of a changed channel."""
        if channel is not self._channel:
            self._channel = channel
            self.concurrency_limit.limit = channel.max_in_flight

    def try_enter(self) -> bool:
        """Count a request against the limit and return True, unless the limit is reached or others wait already."""
        return not self._waiting and self.concurrency_limit.enter()

    def wait(self, now: float) -> Deferred[None]:
        """Add a request to the queue. The Deferred fires once the request is admitted; cancelling it removes the
        request. Raises Overloaded when the queue is full; the Deferred fails with it after the channel's
        queue_timeout."""
        channel = self._channel
        if len(self._waiting) >= channel.queue:
            self.rejected += 1
            raise Overloaded(None, self._overload_message())
        waiting: Deferred[None] = Deferred(self._forget)
        self._waiting[waiting] = now + channel.queue_timeout
        return waiting

    def admit_waiting(self, now: float) -> None:
        """Admit waiting requests up to the limit, and fail those that have timed out."""
        for waiting in [request for request, deadline in self._waiting.items() if deadline <= now]:
            del self._waiting[waiting]
            self.timed_out += 1
            waiting.errback(Overloaded(None, self._overload_message()))
        for _ in range(_MAX_ADMITTED_PER_CHECK):
            if not self._waiting or not self.concurrency_limit.enter():
                return
            self._waiting.popitem(last=False)[0].callback(None)

    def reject(self) -> Overloaded:
        """Count a rejected request; returns the error to raise."""
        self.rejected += 1
        return Overloaded(None, self._overload_message())

    def _forget(self, waiting: Deferred[None]) -> None:
        self._waiting.pop(waiting, None)

    def _overload_message(self) -> str:
        queued = f' and {self._channel.queue} may wait' if self._channel.queue else ''
        limit = self.concurrency_limit.limit
        return f'Channel {self._channel.name} accepts {limit} requests at once{queued}: try again later'


class Admission:
    """Enforces the concurrency limits of one node. If no clock is given, requests that exceed a limit are rejected
    instead of queued.

    `make_limit` creates the concurrency limit of a channel.
    """

    def __init__(
        self,
        clock: IReactorTime | None = None,
        *,
        node: ConcurrencyLimit | None = None,
        make_limit: ConcurrencyLimitFactory = lambda name, limit: ConcurrencyLimit(limit),
    ) -> None:
        self.node = ConcurrencyLimit(DEFAULT_NODE_LIMIT) if node is None else node
        self._clock = clock
        self._make_limit = make_limit
        self._queues: dict[tuple[str, str], ChannelQueue] = {}
        self._check_scheduled = False
        self._admit_scheduled = False

    def queue_of(self, channel: ChannelSpec) -> ChannelQueue:
        """Return the queue of a channel that has a limit, creating it on first use."""
        key = channel.kind, channel.name
        queue = self._queues.get(key)
        if queue is None:
            concurrency_limit = self._make_limit(f'channel {channel.kind} {channel.name}', channel.max_in_flight)
            queue = self._queues[key] = ChannelQueue(channel, concurrency_limit)
        else:
            queue.update_channel(channel)
        return queue

    def apply(self, snapshot: Snapshot) -> None:
        """Apply the channel limits of a snapshot, to waiting requests as well. Drops the queues of channels that are
        gone or no longer have a limit, once they are empty."""
        limits = {stored.name: limit for stored in snapshot.objects_with('max_in_flight')
                  if (limit := stored.value.max_in_flight)}  # fmt: skip
        for key, queue in tuple(self._queues.items()):
            if key[1] in limits:
                queue.concurrency_limit.limit = limits[key[1]]
            elif not queue.concurrency_limit.total_active and not queue.length:
                del self._queues[key]

    def queues(self) -> Iterator[tuple[tuple[str, str], ChannelQueue]]:
        """Iterate over the queues in use, as ((kind, name), queue)."""
        return iter(tuple(self._queues.items()))

    def enter_channel(self, channel: ChannelSpec, queue: ChannelQueue) -> Deferred[None] | None:
        """Count a request against the limit of its channel. Returns None if it is admitted at once, else a Deferred
        that fires when it is. Raises Overloaded."""
        if queue.try_enter():
            return None
        if not channel.queue or self._clock is None:
            raise queue.reject()
        waiting = queue.wait(self._clock.seconds())
        self._schedule_check()
        return waiting

    def release_request(self, service_limit: ConcurrencyLimit | None, queue: ChannelQueue | None) -> None:
        """Release everything a finished request counted against: the node, and its service and channel if it got that
        far."""
        node = self.node
        if node.is_local:
            node.active -= 1
        else:
            node.leave()
        if service_limit is not None:
            if service_limit.is_local:
                service_limit.active -= 1
            else:
                service_limit.leave()
        if queue is not None:
            self.leave_channel(queue)

    def leave_channel(self, queue: ChannelQueue) -> None:
        """Release a channel's limit and admit the next waiting request."""
        queue.concurrency_limit.leave()
        if queue.length and not self._admit_scheduled and self._clock is not None:
            # Not in this call: an admitted request may finish at once and admit the next one, and the calls would nest.
            self._admit_scheduled = True
            self._clock.callLater(0, self._admit_released)

    def check_capacity(self, channel: ChannelSpec, entry: IServiceEntry | None) -> None:
        """Reject a request early that would be rejected later anyway, before its password is hashed or its body is
        read. Counts nothing. Raises Overloaded."""
        if channel.serves_while_draining:
            return
        if channel.max_in_flight:
            queue = self.queue_of(channel)
            if queue.is_full:
                raise queue.reject()
        if entry is not None and entry.concurrency_limit.is_full:
            entry.concurrency_limit.rejected += 1
            raise service_full_error(entry)

    def node_full_error(self) -> Overloaded:
        """Return the error to raise when the node has reached its limit."""
        return Overloaded(None, f'The server is processing {self.node.limit} requests, its limit: try again later')

    def _admit_released(self) -> None:
        self._check_queues()
        self._admit_scheduled = any(
            queue.length and not queue.concurrency_limit.is_full for queue in self._queues.values()
        )
        if self._admit_scheduled:
            self._call_later(0, self._admit_released)

    def _schedule_check(self) -> None:
        if not self._check_scheduled:
            self._check_scheduled = True
            self._call_later(QUEUE_CHECK_INTERVAL, self._check_periodically)

    def _check_periodically(self) -> None:
        """Check periodically, because requests that finish in another worker do not notify this one."""
        self._check_scheduled = False
        self._check_queues()
        if any(queue.length for queue in self._queues.values()):
            self._schedule_check()

    def _check_queues(self) -> None:
        assert self._clock is not None
        now = self._clock.seconds()
        for queue in tuple(self._queues.values()):
            if queue.length:
                queue.admit_waiting(now)

    def _call_later(self, seconds: float, function: Callable[[], None]) -> None:
        assert self._clock is not None
        self._clock.callLater(seconds, function)


def service_full_error(entry: IServiceEntry) -> Overloaded:
    """Return the error for a request to a service that has reached its concurrency limit."""
    return Overloaded(
        None, f'Service {entry.name} is processing {entry.concurrency_limit.limit} requests, its limit: try again later'
    )
