"""Live statistics of the cluster. The cluster is polled once for all browsers, and the results are sent to them as
server-sent events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from zatotx.admin.cluster_api import ApiError, Caller, IClusterApi

INTERVAL = 2.0  # seconds between polls
HISTORY = 60  # events whose figures a new browser gets
MAX_AGE = 120.0  # seconds for which the figures of earlier polls are kept without polls
STATUS_SERVICE = 'zato.server.get-status'


class NodeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of the counters of all servers at one point in time."""

    state: str  # see zato.server.get-status
    is_leader: bool = False
    requests: float = 0.0
    errors: float = 0.0
    mean: float = 0.0  # milliseconds per call
    in_flight: int = 0
    stalls: int = 0  # since the node started


class LiveEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The statistics that a browser displays. Rates are per second since the last poll."""

    nodes: Mapping[str, NodeFigures]  # by name
    requests: float
    errors: float
    mean: float  # milliseconds per call
    in_flight: int
    revision: int


Point = tuple[float, float, float]  # requests, errors, mean of one event
Subscriber = Callable[[bytes, bool], None]  # called with each encoded event, and whether it is the last one


@define(kw_only=True)
class LiveFeed:
    """Polls the cluster while there are subscribers. Each poll uses the session of the next subscriber, so that every
    session is checked. Polling does not extend the sessions."""

    api: IClusterApi
    clock: IReactorTime
    latest: LiveEvent | None = field(default=None, init=False)  # of the last poll, if there are polls now
    _subscribers: dict[Subscriber, Caller] = field(factory=dict, init=False)
    _loop: LoopingCall | None = field(default=None, init=False)
    _last: Mapping[str, Any] | None = field(default=None, init=False)  # name -> row of the last poll
    _last_at: float = field(default=0.0, init=False)
    _history: deque[Point] = field(factory=lambda: deque(maxlen=HISTORY), init=False)

    _log = Logger()

    def subscribe(self, subscriber: Subscriber, caller: Caller) -> None:
        """Send events to a subscriber, those of the last minutes first."""
        self._subscribers[subscriber] = Caller(caller.token, caller.address, is_passive=True)
        if self.clock.seconds() - self._last_at > MAX_AGE:
            self._history.clear()
        subscriber(encode('history', list(self._history)), False)
        if self.latest is not None:
            subscriber(encode('figures', self.latest), False)
        if self._loop is None:
            self._loop = LoopingCall(self.poll)
            self._loop.clock = self.clock
            self._loop.start(INTERVAL)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Send no more events to a subscriber. The last one ends the polls."""
        self._subscribers.pop(subscriber, None)
        if not self._subscribers and self._loop is not None:
            loop, self._loop = self._loop, None
            self._forget()
            if loop.running:
                loop.stop()

    def _forget(self) -> None:
        """Begin anew: the next rates do not include the time until then."""
        self._last, self.latest = None, None

    async def poll(self) -> None:
        """Poll the cluster once and send the event to all subscribers. Never fails."""
        for subscriber, caller in tuple(self._subscribers.items())[:1]:
            self._subscribers[subscriber] = self._subscribers.pop(subscriber)  # the next poll is another one's
            try:
                rows = await self.api.call(STATUS_SERVICE, {}, caller)
            except ApiError as error:
                if error.status in (401, 403):
                    self.unsubscribe(subscriber)
                    subscriber(encode('end', {}), True)
                else:
                    self._forget()
                return
            except Exception:
                self._log.failure('The live figures cannot be fetched')
                return
            if self._subscribers:
                self._send(rows)

    def _send(self, rows: Sequence[Mapping[str, Any]]) -> None:
        now, by_name = self.clock.seconds(), {row['name']: row for row in rows}
        last, elapsed = self._last, now - self._last_at
        self._last, self._last_at = by_name, now
        if last is None or elapsed <= 0:
            return
        event = self.latest = make_event(last, by_name, elapsed)
        self._history.append((event.requests, event.errors, event.mean))
        encoded = encode('figures', event)
        for subscriber in tuple(self._subscribers):
            subscriber(encoded, False)


def make_event(last: Mapping[str, Any], now: Mapping[str, Any], elapsed: float) -> LiveEvent:
    """Return the rates between two polls, which are `elapsed` seconds apart. `last` and `now` contain rows of
    zato.server.get-status by name. The counters of a node that has restarted, or that did not respond to the last poll,
    start at the current values."""
    changes = {name: _changes(last.get(name), row) for name, row in now.items()}
    nodes = {
        name: NodeFigures(
            state=row['state'], is_leader=row['is_leader'], in_flight=int(_figure(row, 'in_flight')),
            stalls=int(_figure(row, 'stalls')), **_rates([changes[name]], elapsed),
        )
        for name, row in now.items()
    }  # fmt: skip
    revision = max((int(_figure(row, 'revision')) for row in now.values()), default=0)
    return LiveEvent(
        nodes=nodes, in_flight=sum(node.in_flight for node in nodes.values()), revision=revision,
        **_rates(changes.values(), elapsed),
    )  # fmt: skip


_COUNTERS = ('requests', 'calls', 'errors', 'seconds')


def _changes(last: Mapping[str, Any] | None, row: Mapping[str, Any]) -> dict[str, float]:
    old, new = (last or {}).get('status'), row['status']
    if old is None or new is None or old['started'] != new['started']:
        return dict.fromkeys(_COUNTERS, 0.0)
    return {name: max(0.0, new[name] - old[name]) for name in _COUNTERS}


def _rates(changes: Iterable[Mapping[str, float]], elapsed: float) -> dict[str, float]:
    sums = dict.fromkeys(_COUNTERS, 0.0)
    for one in changes:
        for name in _COUNTERS:
            sums[name] += one[name]
    return {
        'requests': round(sums['requests'] / elapsed, 1),
        'errors': round(sums['errors'] / elapsed, 1),
        'mean': round(1000 * sums['seconds'] / sums['calls'], 2) if sums['calls'] else 0.0,
    }


def _figure(row: Mapping[str, Any], name: str) -> float:
    return float(row['status'][name]) if row['status'] else 0.0


def encode(event: str, data: Any) -> bytes:
    """Encode an event and its data as a server-sent event."""
    return b'event: ' + event.encode() + b'\ndata: ' + msgspec.json.encode(data) + b'\n\n'
