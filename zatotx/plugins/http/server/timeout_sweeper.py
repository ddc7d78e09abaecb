"""Enforces the timeouts of all server connections in one periodic sweep, instead of creating and cancelling a timer per
request.

A timeout fires at most one interval late. Setting one is an assignment.
"""

from __future__ import annotations

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from zatotx.plugins.http.server.server_context import ServerContext

INTERVAL = 0.5  # seconds
_MAX_RELIEVED = 200  # connections whose bodies are moved out of memory in one sweep, when memory is scarce


class ServerTimeoutSweeper:
    """Checks every connection twice a second."""

    _log = Logger()

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._call = LoopingCall(self._sweep)
        self._call.clock = context.reactor

    def start(self) -> None:
        """Start sweeping."""
        self._call.start(INTERVAL, now=False)

    def stop(self) -> None:
        """Stop sweeping. Does nothing if it is not running."""
        if self._call.running:
            self._call.stop()

    def _sweep(self) -> None:
        now = self._context.seconds()
        self._context.accept_limiter.resume_if_possible()
        self._context.spool_quota = _MAX_RELIEVED if self._context.byte_budget.is_under_pressure else 0
        for connection in list(self._context.connections):
            try:
                connection.enforce_timeouts(now)
            except Exception:  # an error in one connection must not stop the sweep of the others
                self._log.failure('The deadlines of a connection cannot be kept')
                connection.transport.abortConnection()
