"""The log of the state of one Redis server, shared by all connections to it."""

from __future__ import annotations

from twisted.logger import Logger


class ConnectionLog:
    """Logs each change once: that Redis is connected, why it is not, and problems with its settings."""

    _log = Logger('zatotx.redis')

    def __init__(self, server: str) -> None:
        """`server`: 'Redis at …'."""
        self.server = server
        self._state: str | None = None  # '' = connected, otherwise the problem; None = nothing was logged yet
        self._warned: set[str] = set()

    def log_connected(self) -> None:
        """Log that there is a connection."""
        if self._state != '':
            self._state = ''
            self._log.info('{where} answers', where=self.server)

    def log_unavailable(self, problem: str) -> None:
        """Log that there is no connection, with the reason as a clause."""
        if problem != self._state:
            self._state = problem
            self._log.warn('{where} is away: {problem}', where=self.server, problem=problem)

    def log_warning(self, sentence: str) -> None:
        """Log a problem with the server's settings."""
        if sentence not in self._warned:
            self._warned.add(sentence)
            self._log.warn('{sentence}', sentence=sentence)
