"""The server process of the embedded Redis, as its supervisor sees it."""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

_KEPT = 20  # lines of output, to say why it ended
_LONGEST = 4096  # bytes of a line


class ServerProcess(ProcessProtocol):
    """Logs what the process says; `ended` fires with why it ended once it is gone."""

    _log = Logger()

    def __init__(self) -> None:
        self.ended: Deferred[str] = Deferred()
        self.gone = False
        self.said: deque[str] = deque(maxlen=_KEPT)
        self._rest = b''

    @property
    def last_words(self) -> str:
        """The last two lines of its output."""
        return '; '.join(list(self.said)[-2:]) or 'it said nothing'

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b'\n')
        for line in lines:
            self._line(line[:_LONGEST].decode('utf-8', 'replace').strip())
        self._rest = self._rest[-_LONGEST:]

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self.outReceived(b'\n')
        self.gone = True
        self.ended.callback(_why(reason.value))

    def stop(self, reactor: Any, patience: float) -> Deferred[None]:
        """Ask it to save and end; kill it after `patience` seconds. Fires when it is gone."""
        if self.gone:
            return succeed(None)
        transport: Any = self.transport
        transport.signalProcess('TERM')
        kill = reactor.callLater(patience, transport.signalProcess, 'KILL')
        over: Deferred[None] = Deferred()

        def ended(why: str) -> str:
            if kill.active():
                kill.cancel()
            over.callback(None)
            return why

        self.ended.addCallback(ended)
        return over

    def _line(self, line: str) -> None:
        if line:
            self.said.append(line)
            self._log.info('redis: {line}', line=line)


def _why(error: Any) -> str:
    if isinstance(error, ProcessDone):
        return 'it ended by itself'
    if error.signal is not None:
        return f'it was ended by signal {error.signal}'
    return f'it ended with exit code {error.exitCode}'
