"""Logs outages of the ODB."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

MAX_REASONS = 5  # logged per outage at most: some databases report a new reason each time


@define(eq=False)
class OutageLog:
    """Logs each reason of an outage once until the ODB is available again, instead of every two seconds."""

    log: Logger
    reason: str = ''  # the last reason; '' = the ODB is available
    _logged: set[str] = field(factory=set, init=False)

    def log_failure(self, failure: Any) -> None:
        """Record that an attempt to read the ODB failed."""
        if failure.check(CancelledError):
            return
        self.reason = failure.getErrorMessage()
        if self.reason not in self._logged and len(self._logged) < MAX_REASONS:
            self._logged.add(self.reason)
            self.log.warn('The ODB is unavailable, the current configuration stays in force: {why}', why=self.reason)

    def log_recovery(self, revision: int) -> None:
        """Record that the ODB is available and that this node runs its revision."""
        if self.reason:
            self.log.info('The ODB is available again, this node is at revision {revision}', revision=revision)
        self.reason = ''
        self._logged.clear()
