"""Live statistics of the cluster: the cluster is polled once for all browsers, and the results are sent as server-sent
events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from zatotx.admin.cluster_api import ApiError, Caller, IClusterApi
from zatotx.admin.server_state import is_up

INTERVAL = 2.0  # seconds between polls


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of the counters of all servers at one time."""

    at: float  # seconds on a monotonic clock
    requests: float
    calls: float  # of services of users, as all below
    errors: float
    seconds: float
    in_flight: float


class LiveEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The statistics that a browser displays. Rates are per second since the last poll."""

    servers: Mapping[str, bool]  # name -> whether it is up
    requests: float
    errors: float
    mean: float  # milliseconds per call
    in_flight: float
    revision: int


Subscriber = Callable[[LiveEvent | None], None]  # called with each event; with None when its session has ended


@define(kw_only=True)
class LiveFeed:
    """Polls the cluster while there are subscribers. Each poll uses the session of the next subscriber, so that every
    session is checked; polling does not keep the session alive."""

    api: IClusterApi
    clock: IReactorTime
    _subscribers: dict[Subscriber, Caller] = field(factory=dict, init=False)
    _loop: LoopingCall | None = field(default=None, init=False)
    _last: Figures | None = field(default=None, init=False)

    _log = Logger()

    def subscribe(self, subscriber: Subscriber, caller: Caller) -> None:
        """Send events to a subscriber."""
        self._subscribers[subscriber] = Caller(caller.token, caller.address, is_passive=True)
        if self._loop is None:
            self._loop = LoopingCall(self.poll)
            self._loop.clock = self.clock
            self._loop.start(INTERVAL)

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Send no more events to a subscriber. The last one ends the polls."""
        self._subscribers.pop(subscriber, None)
        if not self._subscribers and self._loop is not None:
            loop, self._loop, self._last = self._loop, None, None
            if loop.running:
                loop.stop()

    async def _fetch(self, caller: Caller) -> LiveEvent | None:
        """Return the event of this moment; None the first time, since rates need two moments. Raises ApiError."""
        servers = await self.api.call('zato.server.get-list', {}, caller)
        answers = await self.api.call_each('zato.stats.get-current', {}, caller)
        figures = sum_figures(answers, self.clock.seconds())
        last, self._last = self._last, figures
        revision = max((int(answer['revision']) for answer in answers), default=0)
        return make_event(last, figures, {row['name']: is_up(row) for row in servers}, revision)

    async def poll(self) -> None:
        """Poll the cluster once and send the event to all subscribers. Never fails."""
        for subscriber, caller in tuple(self._subscribers.items())[:1]:
            self._subscribers[subscriber] = self._subscribers.pop(subscriber)  # the next poll is another one's
            try:
                event = await self._fetch(caller)
            except ApiError as error:
                if error.status in (401, 403):
                    self.unsubscribe(subscriber)
                    subscriber(None)
                else:
                    self._last = None  # rates begin anew when the cluster answers again
                return
            except Exception:
                self._log.failure('The live figures cannot be fetched')
                return
            for each in tuple(self._subscribers) if event is not None else ():
                each(event)


def sum_figures(answers: Sequence[Mapping[str, Any]], at: float) -> Figures:
    """Sum up the responses of zato.stats.get-current of all servers, without built-in services."""
    services = [row for answer in answers for row in answer['services'] if not row['name'].startswith('zato.')]
    return Figures(
        at=at,
        requests=sum(answer['requests'] for answer in answers),
        calls=sum(row['calls'] for row in services),
        errors=sum(row['errors'] for row in services),
        seconds=sum(row['seconds'] for row in services),
        in_flight=sum(answer['in_flight'] for answer in answers),
    )


def make_event(last: Figures | None, now: Figures, servers: Mapping[str, bool], revision: int) -> LiveEvent | None:
    """Calculate the rates between two polls. Returns None if there was no earlier poll. A counter that has decreased,
    because a server has restarted or does not respond, counts as unchanged."""
    if last is None or now.at <= last.at:
        return None
    elapsed = now.at - last.at
    calls, seconds = max(0.0, now.calls - last.calls), max(0.0, now.seconds - last.seconds)
    return LiveEvent(
        servers=servers,
        requests=round(max(0.0, now.requests - last.requests) / elapsed, 1),
        errors=round(max(0.0, now.errors - last.errors) / elapsed, 1),
        mean=round(1000 * seconds / calls, 2) if calls else 0.0,
        in_flight=now.in_flight,
        revision=revision,
    )


def encode_event(event: LiveEvent | None) -> bytes:
    """Encode the statistics, or the end of the session, as a server-sent event."""
    if event is None:
        return b'event: end\ndata: {}\n\n'
    return b'event: figures\ndata: ' + msgspec.json.encode(event) + b'\n\n'
