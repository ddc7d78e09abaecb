"""Log levels that are changed at run time: applied here at once, and announced to the other nodes through Redis.

They last until a restart or a reload, which restore the levels in server.toml.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.node import ILogLevels
from zatotx.node.log_files import LogFiles

TOPIC = 'log-level'
MAX_NAME_LENGTH = 200  # maximum characters of a logger's name


@implementer(ILogLevels)
@define(eq=False)
class LiveLogLevels:
    """Changes log levels on all nodes. `others` sets the level in the other workers of this node, which also works
    while Redis is unavailable."""

    logs: LogFiles
    bus: Any  # IBus
    others: Callable[[str, str], Deferred[Any]] = field(default=lambda name, level: succeed(None))

    _log = Logger()

    def start(self) -> None:
        """Subscribe to the changes that other nodes announce."""
        self.bus.subscribe(TOPIC, self._announced)

    def effective(self) -> Mapping[str, str]:
        return self.logs.levels()

    def set_level(self, name: str, level: str) -> Deferred[bool]:
        if len(name) > MAX_NAME_LENGTH:
            raise ValueError(f'the name of a logger has at most {MAX_NAME_LENGTH} characters')
        self.apply(name, level)
        return Deferred.fromCoroutine(self._announce(name, level))

    async def _announce(self, name: str, level: str) -> bool:
        try:
            await self.others(name, level)
            await self.bus.announce(TOPIC, json.dumps([name, level]))
        except CancelledError:
            raise
        except Exception as error:
            self._log.warn('The log level could not be announced to the other nodes: {why}', why=str(error))
            return False
        return True

    def apply(self, name: str, level: str) -> None:
        """Set a level in this process. Raises ValueError for an unknown level."""
        if self.logs.levels().get(name, '') != level:
            self.logs.set_level(name, level)
            self._log.info('The log level of {name} is now {now}', name=repr(name) if name else 'all other loggers',
                           now=level or 'the default')

    def _announced(self, message: str) -> None:
        try:
            name, level = json.loads(message)
            self.apply(str(name)[:MAX_NAME_LENGTH], str(level))
        except (ValueError, TypeError) as error:
            self._log.warn('A node announced an unknown log level: {why}', why=str(error))
