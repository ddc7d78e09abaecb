"""Who may in: the limits of node, channel and service, and the queue in front of a channel that asks for one.

A request takes a place of the node from its first moment, so that what waits for anything, a login included, is
bounded; a place of its channel and of its service once it is known who asks. The broker's own health takes none.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from zatotx.interfaces.services import IServiceEntry
from zatotx.model.errors import ServiceUnavailable
from zatotx.model.message import ChannelSpec
from zatotx.rules.limits.limits import NODE, ConcurrencyLimit
from zatotx.schema.snapshot import Snapshot

LOOK = 0.05  # seconds between two looks at those who wait
_AT_ONCE = 50  # let in by one look: each may run to its end at once, and the reactor has others to serve

MakeGate = Callable[[str, int], ConcurrencyLimit]  # (name of what it is the gate of, limit)


class ChannelQueue:
    """The gate of one channel, and who waits in front of it, first come, first served."""

    __slots__ = ('_channel', '_waiting', 'gate', 'late', 'overflowed')

    def __init__(self, channel: ChannelSpec, gate: ConcurrencyLimit) -> None:
        self._channel = channel
        self._waiting: OrderedDict[Deferred[None], float] = OrderedDict()  # -> when it has waited long enough
        self.gate = gate
        self.late = 0  # gave up waiting
        self.overflowed = 0  # found no place to wait either

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def closed(self) -> bool:
        """Whether the next one could neither enter nor wait."""
        return len(self._waiting) >= self._channel.queue and (bool(self._waiting) or self.gate.full)

    def follow(self, channel: ChannelSpec) -> None:
        """These are the channel's limits from now on."""
        if channel is not self._channel:
            self._channel = channel
            self.gate.limit = channel.max_in_flight

    def enter(self) -> bool:
        """Whether there is room; the place is taken then. Nobody overtakes those who wait."""
        return not self._waiting and self.gate.enter()

    def wait(self, now: float) -> Deferred[None]:
        """Fires when the place is taken. Cancelled, it leaves the queue. Raises ServiceUnavailable where the queue is
        full, and fails with it when the channel's queue_timeout is over."""
        channel = self._channel
        if len(self._waiting) >= channel.queue:
            self.overflowed += 1
            raise ServiceUnavailable(None, self._says())
        waiting: Deferred[None] = Deferred(self._forget)
        self._waiting[waiting] = now + channel.queue_timeout
        return waiting

    def look(self, now: float) -> None:
        """Let in whom there is room for, and send away who has waited too long."""
        for waiting in [one for one, until in self._waiting.items() if until <= now]:
            del self._waiting[waiting]
            self.late += 1
            waiting.errback(ServiceUnavailable(None, self._says()))
        for _ in range(_AT_ONCE):
            if not self._waiting or not self.gate.enter():
                return
            self._waiting.popitem(last=False)[0].callback(None)

    def refuse(self) -> ServiceUnavailable:
        """Turn one away: the fault to raise."""
        self.overflowed += 1
        return ServiceUnavailable(None, self._says())

    def _forget(self, waiting: Deferred[None]) -> None:
        self._waiting.pop(waiting, None)

    def _says(self) -> str:
        queued = f' and {self._channel.queue} may wait' if self._channel.queue else ''
        return f'Channel {self._channel.name} takes {self.gate.limit} requests at once{queued}: try again later'


class Admission:
    """The limits of one node. Without a clock nobody waits: who would have to is turned away.

    `make_gate` makes the gate of a channel.
    """

    def __init__(
        self,
        clock: IReactorTime | None = None,
        *,
        node: ConcurrencyLimit | None = None,
        make_gate: MakeGate = lambda name, limit: ConcurrencyLimit(limit),
    ) -> None:
        self.node = ConcurrencyLimit(NODE) if node is None else node
        self._clock = clock
        self._make_gate = make_gate
        self._entrances: dict[tuple[str, str], ChannelQueue] = {}
        self._looking = False
        self._called = False

    def entrance(self, channel: ChannelSpec) -> ChannelQueue:
        """Of a channel that has a limit."""
        key = channel.kind, channel.name
        found = self._entrances.get(key)
        if found is None:
            gate = self._make_gate(f'channel {channel.kind} {channel.name}', channel.max_in_flight)
            found = self._entrances[key] = ChannelQueue(channel, gate)
        else:
            found.follow(channel)
        return found

    def apply(self, snapshot: Snapshot) -> None:
        """Take over the limits of channels from a snapshot, for those too who wait already; forget channels that are
        gone or have no limit any more, and in which nobody is."""
        limits = {o.name: limit for o in snapshot if (limit := getattr(o.value, 'max_in_flight', None))}
        for key, entrance in tuple(self._entrances.items()):
            if key[1] in limits:
                entrance.gate.limit = limits[key[1]]
            elif not entrance.gate.inside and not entrance.waiting:
                del self._entrances[key]

    def entrances(self) -> Iterator[tuple[tuple[str, str], ChannelQueue]]:
        """Of all channels that have a limit and were used: (kind, name) and entrance."""
        return iter(tuple(self._entrances.items()))

    def enter(self, channel: ChannelSpec, entrance: ChannelQueue) -> Deferred[None] | None:
        """Take a place of a channel: None = it is taken, else it is when the Deferred fires. Raises
        ServiceUnavailable."""
        if entrance.enter():
            return None
        if not channel.queue or self._clock is None:
            raise entrance.refuse()
        waiting = entrance.wait(self._clock.seconds())
        self._look_later()
        return waiting

    def left(self, gate: ConcurrencyLimit | None, entrance: ChannelQueue | None) -> None:
        """A request is over: give back its place of the node, and those of its service and channel, if it had them."""
        node = self.node
        if node.alone:
            node.held -= 1
        else:
            node.leave()
        if gate is not None:
            if gate.alone:
                gate.held -= 1
            else:
                gate.leave()
        if entrance is not None:
            self.leave(entrance)

    def leave(self, entrance: ChannelQueue) -> None:
        """Give a place of a channel back."""
        entrance.gate.leave()
        if entrance.waiting and not self._called and self._clock is not None:
            # Not from here: who is let in may leave at once too, and let in the next one, all within each other.
            self._called = True
            self._clock.callLater(0, self._let_in)

    def check(self, channel: ChannelSpec, entry: IServiceEntry | None) -> None:
        """What would be turned away later may as well be now, before its password is hashed or its body is read. Takes
        no place. Raises ServiceUnavailable."""
        if channel.always_open:
            return
        if channel.max_in_flight:
            entrance = self.entrance(channel)
            if entrance.closed:
                raise entrance.refuse()
        if entry is not None and entry.gate.full:
            entry.gate.refused += 1
            raise service_full(entry)

    def node_full(self) -> ServiceUnavailable:
        """The fault to raise where the node has no room."""
        return ServiceUnavailable(None, f'The server has {self.node.limit} requests under way, its limit: try again '
                                        'later')  # fmt: skip

    def _let_in(self) -> None:
        self._look_at_all()
        self._called = any(entrance.waiting and not entrance.gate.full for entrance in self._entrances.values())
        if self._called:
            self._call_later(0, self._let_in)

    def _look_later(self) -> None:
        if not self._looking:
            self._looking = True
            self._call_later(LOOK, self._look)

    def _look(self) -> None:
        """Also for places that came free in another worker, which nobody tells us."""
        self._looking = False
        self._look_at_all()
        if any(entrance.waiting for entrance in self._entrances.values()):
            self._look_later()

    def _look_at_all(self) -> None:
        assert self._clock is not None
        now = self._clock.seconds()
        for entrance in tuple(self._entrances.values()):
            if entrance.waiting:
                entrance.look(now)

    def _call_later(self, seconds: float, function: Callable[[], None]) -> None:
        assert self._clock is not None
        self._clock.callLater(seconds, function)


def service_full(entry: IServiceEntry) -> ServiceUnavailable:
    """The fault to raise where a service has no room."""
    return ServiceUnavailable(None, f'Service {entry.name} has {entry.gate.limit} requests under way, its limit: try '
                                    'again later')  # fmt: skip
