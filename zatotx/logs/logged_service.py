"""A service wrapper with a log file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred

from zatotx.logs.line_writer import SharedLineWriter
from zatotx.logs.log_file import LogFile
from zatotx.logs.server_log import ServerLog


class LoggedService(Service):
    """Runs another service, and writes the process's log to a file until that service has stopped."""

    def __init__(self, service: IService, path: Path, reactor: Any) -> None:
        """Raises OSError if the file cannot be opened."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._part = service
        self._writer = SharedLineWriter(reactor, LogFile(path, mode=0o600))
        self._log = ServerLog(self._writer)

    def startService(self) -> Any:
        super().startService()  # type: ignore[no-untyped-call]
        self._log.install()
        return self._part.startService()

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        stopped: Deferred[None] = maybeDeferred(self._part.stopService)
        return stopped.addBoth(self._close)

    def _close(self, result: Any) -> Any:
        self._log.uninstall()
        self._writer.close()
        return result
