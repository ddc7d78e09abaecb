"""Redis as the machinery sees it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from zope.interface import Interface


class IBus(Interface):
    """Announcements to all nodes of the cluster: at most once, no order, no memory. What must not be missed is in
    the ODB and found by its revision."""

    def announce(topic: str, message: str) -> Deferred[None]:
        """Tell every node. Fails with ServiceUnavailable where Redis is away; never waits longer than its deadline."""

    def subscribe(topic: str, heard: Callable[[str], None]) -> None:
        """Call `heard` with each message from now on, across reconnects."""


class IKeyValue(Interface):
    """Commands with a deadline each."""

    def execute(command: str, *args: object) -> Deferred[object]:
        """One Redis command. Fails with Timeout or ServiceUnavailable naming Redis, with ResponseError as Redis
        says."""


class ResponseError(Exception):
    """Redis refused a command, in its own words."""
