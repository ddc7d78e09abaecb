"""Handles SIGHUP by reloading the log settings and the certificates of a running process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.logger import Logger

from zatotx.model.errors import StartError
from zatotx.node.settings import Settings


@frozen
class SighupReloader:
    """Reloads the [log] section of the settings, and the certificates of `ssl:` endpoints. If an error occurs, it is
    logged as one sentence, and the current settings stay active. The method blocks while these small files are read."""

    load_settings: Callable[[], Settings]  # raises StartError
    logs: Any  # reload(Log)
    listeners: Any = None  # reload()

    _log = Logger()

    def __call__(self) -> None:
        try:
            self.logs.reload(self.load_settings().log)
        except StartError as error:
            self._log.error('The log settings are unchanged: {why}', why=str(error))
        else:
            self._log.info('The log settings were reloaded')
        if self.listeners is not None:
            self.listeners.reload()
