"""SIGHUP: what of a running process follows its files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.logger import Logger

from zatotx.model.errors import StartError
from zatotx.node.settings import Settings


@frozen
class SighupReloader:
    """Reads server.toml again and takes over its [log], and the certificates of the `ssl:` endpoints. What is wrong is
    logged in a sentence, and stays as it was. Blocks for as long as it takes to read these small files."""

    read: Callable[[], Settings]  # raises StartError
    logs: Any  # reload(Log)
    listeners: Any = None  # reload()

    _log = Logger()

    def __call__(self) -> None:
        try:
            self.logs.reload(self.read().log)
        except StartError as error:
            self._log.error('The settings of the log stay as they are: {why}', why=str(error))
        else:
            self._log.info('The settings of the log are those of server.toml now')
        if self.listeners is not None:
            self.listeners.reload()
