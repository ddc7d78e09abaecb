"""Levels of the log that are changed while nodes run: here at once, elsewhere by word of the bus.

They are of this run only: a restart or a reload brings back what server.toml says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.node import ILevels
from zatotx.node.log_files import LogFiles

TOPIC = 'log-level'
LONGEST = 200  # characters of a logger's name


@implementer(ILevels)
@define(eq=False)
class LiveLogLevels:
    """`others` tells the other workers of this node, where there are some and the bus may be away."""

    logs: LogFiles
    bus: Any  # IBus
    others: Callable[[str, str], Deferred[Any]] = field(default=lambda name, level: succeed(None))

    _log = Logger()

    def start(self) -> None:
        """Listen to the other nodes from now on."""
        self.bus.subscribe(TOPIC, self._heard)

    def shown(self) -> Mapping[str, str]:
        return self.logs.levels()

    def set(self, name: str, level: str) -> Deferred[bool]:
        if len(name) > LONGEST:
            raise ValueError(f'the name of a logger has at most {LONGEST} characters')
        self.apply(name, level)
        return Deferred.fromCoroutine(self._tell(name, level))

    async def _tell(self, name: str, level: str) -> bool:
        try:
            await self.others(name, level)
            await self.bus.announce(TOPIC, json.dumps([name, level]))
        except CancelledError:
            raise
        except Exception as error:
            self._log.warn('The others were not told of the level of the log: {why}', why=str(error))
            return False
        return True

    def apply(self, name: str, level: str) -> None:
        """In this process. Raises ValueError for a level that does not exist."""
        if self.logs.levels().get(name, '') != level:
            self.logs.set_level(name, level)
            self._log.info('The level of {name} is {now} now', name=repr(name) if name else 'all that have none',
                           now=level or 'that of all')

    def _heard(self, message: str) -> None:
        try:
            name, level = json.loads(message)
            self.apply(str(name)[:LONGEST], str(level))
        except (ValueError, TypeError) as error:
            self._log.warn('A node speaks of a level that does not exist: {why}', why=str(error))
