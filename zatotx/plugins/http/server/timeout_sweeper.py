"""One sweep for the deadlines of all connections, instead of timers that are made and cancelled for every request.

A deadline is met at most one interval late. Setting one is an assignment.
"""

from __future__ import annotations

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from zatotx.plugins.http.server.server_context import ServerContext

INTERVAL = 0.5  # seconds
_RELIEVED = 200  # connections whose bodies leave memory in one sweep, when it is scarce


class TimeoutSweeper:
    """Looks at every connection twice a second while it runs."""

    _log = Logger()

    def __init__(self, site: ServerContext) -> None:
        self._site = site
        self._call = LoopingCall(self._sweep)
        self._call.clock = site.reactor

    def start(self) -> None:
        """Begin."""
        self._call.start(INTERVAL, now=False)

    def stop(self) -> None:
        """End. Harmless when it does not run."""
        if self._call.running:
            self._call.stop()

    def _sweep(self) -> None:
        now = self._site.seconds()
        self._site.doorman.look()
        self._site.reliefs = _RELIEVED if self._site.memory.pressed else 0
        for connection in list(self._site.connections):
            try:
                connection.check(now)
            except Exception:  # one broken connection must not end the sweep of the others
                self._log.failure('The deadlines of a connection cannot be kept')
                connection.transport.abortConnection()
