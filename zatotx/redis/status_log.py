"""What the log is told of one Redis, however many connections there are to it."""

from __future__ import annotations

from twisted.logger import Logger


class ConnectionLog:
    """Says each thing once: that it answers, why it does not, what is wrong with its settings."""

    _log = Logger('zatotx.redis')

    def __init__(self, where: str) -> None:
        """`where`: 'Redis at …'."""
        self.where = where
        self._state: str | None = None  # '' = it answers, else why it does not; None = nothing was said yet
        self._warned: set[str] = set()

    def answers(self) -> None:
        """A connection is there."""
        if self._state != '':
            self._state = ''
            self._log.info('{where} answers', where=self.where)

    def away(self, problem: str) -> None:
        """There is none, and why: a clause."""
        if problem != self._state:
            self._state = problem
            self._log.warn('{where} is away: {problem}', where=self.where, problem=problem)

    def warn(self, sentence: str) -> None:
        """Something that should be different."""
        if sentence not in self._warned:
            self._warned.add(sentence)
            self._log.warn('{sentence}', sentence=sentence)
