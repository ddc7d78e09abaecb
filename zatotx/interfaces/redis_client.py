"""Redis as the machinery sees it: commands and announcements. What is built on them is in interfaces/redis.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from zope.interface import Interface

from zatotx.model.errors import ServiceUnavailable


class IBus(Interface):
    """Announcements to all nodes of the cluster: at most once, no order, no memory. What must not be missed is in
    the ODB and found by its revision."""

    def announce(topic: str, message: str) -> Deferred[None]:
        """Tell every node. Fails with ServiceUnavailable where Redis is away; never waits longer than its deadline."""

    def subscribe(topic: str, heard: Callable[[str], None]) -> None:
        """Call `heard` with each message from now on, across reconnects."""


class ICommands(Interface):
    """Commands with a deadline each. A command that fails with Timeout or ServiceUnavailable may have been carried
    out; it is never sent a second time."""

    def execute(command: str, *args: object) -> Deferred[object]:
        """One Redis command. Fails with Timeout or ServiceUnavailable naming Redis (RedisRefused where it answers that
        it cannot now), with ResponseError as Redis says."""


class IBatch(Interface):
    """Many commands in one write."""

    def batch(commands: Sequence[Sequence[object]]) -> Deferred[list[object]]:
        """One answer for each command, in their order; all share one deadline. They are carried out one by one: in the
        place of one that Redis refused stands its ResponseError or RedisRefused, and the others count. Fails as a whole
        with Timeout or ServiceUnavailable where Redis was lost: then each of them may have been carried out, the first
        ones rather than the last."""


class ResponseError(Exception):
    """Redis refused a command, in its own words."""

    @property
    def code(self) -> str:
        """What it begins with, in capitals: 'WRONGTYPE', 'NOSCRIPT', 'NOGROUP' …; '' for an error without."""
        first = str(self).partition(' ')[0]
        return first if first.isupper() else ''


class RedisRefused(ServiceUnavailable):
    """Redis answers, but says that it cannot now. `code` is its word: LOADING (reads its data after a start), READONLY
    (is a replica), OOM (no memory left), MISCONF (cannot write to its disk), BUSY (a script runs) …"""

    def __init__(self, msg: str, code: str) -> None:
        super().__init__(None, msg)
        self.code = code
