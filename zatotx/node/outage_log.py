"""What a node's log says of an ODB that is away."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

REASONS = 5  # of one absence that are said: some databases find a new one each time


@define(eq=False)
class OutageLog:
    """Each reason is said once until the ODB is back, not every two seconds."""

    log: Logger
    why: str = ''  # the last reason, '' = it is not away
    _said: set[str] = field(factory=set, init=False)

    def goes_on(self, failure: Any) -> None:
        """The ODB was asked, and did not answer."""
        if failure.check(CancelledError):
            return
        self.why = failure.getErrorMessage()
        if self.why not in self._said and len(self._said) < REASONS:
            self._said.add(self.why)
            self.log.warn('The ODB could not be followed, the configuration in force stays: {why}', why=self.why)

    def ends(self, revision: int) -> None:
        """The ODB answers, and this node is level with it."""
        if self.why:
            self.log.info('The ODB answers again, this node is at revision {revision}', revision=revision)
        self.why = ''
        self._said.clear()
