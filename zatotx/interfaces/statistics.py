"""Interfaces of service usage statistics, per minute and aggregated over longer periods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from twisted.internet.defer import Deferred
from zope.interface import Interface

from zatotx.model.service_usage import ServiceUsage, UsageByService


class IUsageStore(Interface):
    """Stores the usage of services for the whole cluster. The data is as durable as other data in Redis. A period is
    identified by its start (see zatotx.rules.statistics.calendar_periods). Every method fails with the errors of
    ICommands.execute."""

    def record(source: str, minutes: Mapping[int, UsageByService]) -> Deferred[None]:
        """Store what one process counted in some minutes, instead of what it stored for them before. May be repeated.
        `source`: a name that no other process has, nor an earlier one of the same server."""

    def recorded(minutes: Sequence[int]) -> Deferred[list[dict[str, ServiceUsage]]]:
        """Return what all processes counted in each of some recent minutes."""

    def usage(period: str, starts: Sequence[int]) -> Deferred[list[dict[str, ServiceUsage]]]:
        """Return the stored usage of each period; nothing where none is stored."""

    def stored(period: str, starts: Sequence[int]) -> Deferred[list[bool]]:
        """Return whether the usage of each period is stored."""

    def store(period: str, usages: Mapping[int, UsageByService]) -> Deferred[None]:
        """Store the usage of periods, for as long as such periods are kept. May be repeated."""

    def delete(period: str, starts: Iterable[int]) -> Deferred[int]:
        """Delete the usage of periods, and what was recorded in minutes. Fires with the number of deleted periods."""

    def totals() -> Deferred[tuple[int, dict[str, ServiceUsage]]]:
        """Return the usage since the cluster exists, and the minute until which it is complete; 0 if there is none."""

    def replace_totals(expected: int, until: int, usage: UsageByService) -> Deferred[bool]:
        """Replace the totals that are complete until `expected`. Fires with False, without replacing anything, if
        another node was faster."""


class IUsageRecorder(Interface):
    """Records the service calls of one process."""

    def start() -> None:
        """Record the calls from now on."""

    def stop() -> Deferred[None]:
        """Store what was counted since the last time. Never fails."""
