"""Interfaces of the work stream, which stores asynchronous invocations until a server has processed them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from zatotx.model.work_message import WorkCounts, WorkDelivery, WorkMessage


class IWorkStream(Interface):
    """Accepts messages of the work stream. Each message is processed at least once, on any server or on a specified
    server. A message survives the death of the process that runs it, and is as durable as the data in Redis."""

    def add(messages: Sequence[WorkMessage]) -> Deferred[None]:
        """Store all messages or none; fires when they are stored. Fails with Timeout or ServiceUnavailable if the
        broker is unavailable; after a Timeout the messages may be stored nevertheless."""


class IResultGroups(Interface):
    """Stores the results of a group of messages until the last result has arrived. The results are as durable as the
    data in Redis."""

    def open(group: str, parts: Sequence[str], final: bytes) -> Deferred[None]:
        """Open a group for the results of these parts; `final` is kept with them."""

    def record(group: str, part: str, result: bytes) -> Deferred[tuple[bytes, dict[str, bytes]] | None]:
        """Store the result of a part; the first one counts. Fires with `final` and all results when all are there, also
        if the part is recorded again; with None before, and for an unknown group."""

    def close(group: str) -> Deferred[None]:
        """Remove a group."""


class IWorkConsumer(Interface):
    """The consumer of one queue in one process. The queue is shared by all servers, or contains the messages for one
    server."""

    name: str = Attribute('Name of the consumer, unique among all consumers there ever are')

    def start() -> None:
        """Connect to the broker."""

    def stop() -> Deferred[None]:
        """Close the connection. Messages that were not settled go to other consumers."""

    def take(count: int, wait: float) -> Deferred[list[WorkDelivery]]:
        """Fires with up to `count` messages as soon as there is one; with [] after `wait` seconds. May be cancelled.
        No other consumer receives them while this one lives, however long they take. Fails with Timeout or
        ServiceUnavailable."""

    def finish(delivery: WorkDelivery, follow_ups: Sequence[WorkMessage] = ()) -> Deferred[None]:
        """Remove a message and add `follow_ups`, atomically where the broker can: otherwise the follow-ups come first.
        Fails like `take`; may be repeated."""

    def retry(delivery: WorkDelivery, message: WorkMessage, delay: float) -> Deferred[None]:
        """Replace a message by its next attempt, which any consumer of the queue receives after `delay` seconds. Fails
        like `take`; may be repeated."""

    def give_back(delivery: WorkDelivery, delay: float) -> Deferred[None]:
        """Put back a message of a newer version, unchanged: any consumer of the queue receives it after `delay`
        seconds. Fails like `take`; may be repeated."""

    def recover(is_dead: Callable[[str], bool], count: int) -> Deferred[list[WorkDelivery]]:
        """Take over up to `count` messages of consumers that are dead, given their names. A broker that notices the
        death of consumers itself fires with []. Fails like `take`."""

    def release_due() -> Deferred[float | None]:
        """Make delayed messages available whose time has come. Fires with the seconds until the next one is due, None
        if there is none; a broker that does this itself fires with None. Fails like `take`."""

    def counts() -> Deferred[WorkCounts]:
        """Count the messages of the queue. Fails like `take`."""
