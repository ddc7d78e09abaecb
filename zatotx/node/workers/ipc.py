"""Workers of one server ask each other small things: each listens on a Unix socket of its own in work/, and answers
frames of JSON (their length in four bytes, then the value).

    {"ask": "metrics", "with": []} ──► {"pid": 4711, "answer": …}    or    {"pid": 4711, "fault": "why"}
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

DEADLINE = 1.0  # seconds for an answer
_LONGEST = 64 * 1024 * 1024  # bytes of a frame: the figures of tens of thousands of services

Answers = Mapping[str, Callable[..., Any]]  # question -> what answers it, called with the asker's words


@frozen
class PeerReply:
    """What another worker said."""

    seat: int
    pid: int
    value: Any


class _Frames(Int32StringReceiver):
    MAX_LENGTH = _LONGEST


class _Asked(_Frames):
    """Answers one question after the other."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def stringReceived(self, string: bytes) -> None:
        asked = json.loads(string)
        question = asked.get('ask')
        found = self._answers.get(question)
        if found is None:
            self._give({'fault': f'there is no question {question!r}'})
        else:
            maybeDeferred(found, *asked.get('with', ())).addCallbacks(self._answered, self._failed)

    def _answered(self, value: Any) -> None:
        self._give({'answer': value})

    def _failed(self, failure: Failure) -> None:
        self._give({'fault': failure.getErrorMessage()})

    def _give(self, said: dict[str, Any]) -> None:
        self.sendString(json.dumps({'pid': os.getpid(), **said}).encode())  # type: ignore[no-untyped-call]


class _Asking(_Frames):
    """Asks once; `answer` fires with what comes back, and fails where nothing does."""

    transport: Any = None

    def __init__(self, question: str, words: Sequence[object]) -> None:
        self._question = {'ask': question, 'with': list(words)}
        self.answer: Deferred[dict[str, Any]] = Deferred()

    def connectionMade(self) -> None:
        self.sendString(json.dumps(self._question).encode())  # type: ignore[no-untyped-call]

    def stringReceived(self, string: bytes) -> None:
        if not self.answer.called:
            self.answer.callback(json.loads(string))
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = Failure(CancelledError())) -> None:  # noqa: B008 - Twisted's signature
        if not self.answer.called:
            self.answer.errback(reason)


class _Factory(Factory):
    noisy = False

    def __init__(self, make: Callable[[], _Frames]) -> None:
        self._make = make

    def buildProtocol(self, addr: Any) -> Any:
        return self._make()


class WorkerPeers:
    """This worker's socket, and the way to those of the others."""

    _log = Logger()

    def __init__(self, reactor: Any, work: Path, seat: int, answers: Answers) -> None:
        """`reactor`: IReactorUNIX, IReactorTime."""
        self._reactor = reactor
        self._work = work
        self._seat = seat
        self._answers = answers
        self._directory = -1
        self._port: Any = None

    def start(self) -> None:
        """Answer from now on. Raises what Twisted says where the socket cannot be had."""
        # Named from the open directory: the kernel takes no path of more than 107 bytes.
        self._directory = os.open(self._work, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        (self._work / socket_name(self._seat)).unlink(missing_ok=True)  # what a killed process left: the seat is ours
        self._port = self._reactor.listenUNIX(self._path(self._seat), _Factory(partial(_Asked, self._answers)),
                                              mode=0o600)

    async def stop(self) -> None:
        """Answer no more. Idempotent."""
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        directory, self._directory = self._directory, -1
        if directory >= 0:
            os.close(directory)

    async def ask_all(self, question: str, *words: object) -> list[PeerReply]:
        """What the other workers answer to the question with those words, which JSON can say. Who does not within
        DEADLINE, or not well, is not among them."""
        if self._directory < 0:
            return []
        seats = [seat for seat in sorted(_seats(self._work)) if seat != self._seat]
        found = await gatherResults([Deferred.fromCoroutine(self._ask(seat, question, words)) for seat in seats])
        return [answer for answer in found if answer is not None]

    async def _ask(self, seat: int, question: str, words: Sequence[object]) -> PeerReply | None:
        asking = _Asking(question, words)
        endpoint = UNIXClientEndpoint(self._reactor, self._path(seat), timeout=DEADLINE)
        try:
            await endpoint.connect(_Factory(lambda: asking))
            said = await asking.answer.addTimeout(DEADLINE, self._reactor)
        except Exception as error:  # it is gone, going, coming, or stands still
            self._log.debug('Worker {seat} does not answer: {why}', seat=seat, why=str(error) or type(error).__name__)
            if asking.transport is not None:
                asking.transport.abortConnection()
            return None
        if 'answer' not in said:
            self._log.warn('Worker {seat} has no answer: {why}', seat=seat, why=said.get('fault'))
            return None
        return PeerReply(seat, int(said['pid']), said['answer'])

    def _path(self, seat: int) -> str:
        return f'/proc/self/fd/{self._directory}/{socket_name(seat)}'


def socket_name(seat: int) -> str:
    """Of the socket's file in work/."""
    return f'worker-{seat}.sock'


def _seats(work: Path) -> set[int]:
    found = set()
    for path in work.glob('worker-*.sock'):
        with suppress(ValueError):  # nothing of ours
            found.add(int(path.stem.removeprefix('worker-')))
    return found
