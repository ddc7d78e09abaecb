"""The communication of a worker with the other workers of its server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from zatotx.interfaces.reactor import IReactor
from zatotx.metrics.snapshot import MetricSample
from zatotx.processes.workers.metrics_store import MetricsStore, select_samples_to_sum

# Requests between the workers of a server: each listens on its own Unix socket in work/ and answers frames of JSON
# (length in four bytes, then the value).
#
# {"ask": "metrics", "with": []} ──► {"pid": 4711, "answer": …} or {"pid": 4711, "fault": "why"}

DEADLINE = 1.0  # seconds for a response
_MAX_FRAME_SIZE = 64 * 1024 * 1024  # maximum bytes of a frame: enough for the metrics of tens of thousands of services

RequestHandlers = Mapping[str, Callable[..., Any]]  # request name -> handler, called with the request's arguments


@frozen
class WorkerResponse:
    """The response of another worker to a request."""

    slot: int
    pid: int
    value: Any


class _FrameProtocol(Int32StringReceiver):
    MAX_LENGTH = _MAX_FRAME_SIZE


class _ServerProtocol(_FrameProtocol):
    """Answers the requests of one connection."""

    def __init__(self, answers: RequestHandlers) -> None:
        self._answers = answers

    def stringReceived(self, string: bytes) -> None:
        request = json.loads(string)
        name = request.get('ask')
        handler = self._answers.get(name)
        if handler is None:
            self._send({'fault': f'unknown request {name!r}'})
        else:
            maybeDeferred(handler, *request.get('with', ())).addCallbacks(self._succeeded, self._failed)

    def _succeeded(self, value: Any) -> None:
        self._send({'answer': value})

    def _failed(self, failure: Failure) -> None:
        self._send({'fault': failure.getErrorMessage()})

    def _send(self, response: dict[str, Any]) -> None:
        self.sendString(json.dumps({'pid': os.getpid(), **response}).encode())  # type: ignore[no-untyped-call]


class _ClientProtocol(_FrameProtocol):
    """Sends one request. `answer` fires with the response, and fails if the connection closes without one."""

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


class _PeerFactory(Factory):
    noisy = False

    def __init__(self, make: Callable[[], _FrameProtocol]) -> None:
        self._make = make

    def buildProtocol(self, addr: Any) -> Any:
        return self._make()


class WorkerIpc:
    """Listens on this worker's Unix socket, and sends requests to the other workers."""

    _log = Logger()

    def __init__(self, reactor: IReactor, work: Path, slot: int, handlers: RequestHandlers) -> None:
        """`reactor`: IReactorUNIX, IReactorTime."""
        self._reactor = reactor
        self._work = work
        self._slot = slot
        self._handlers = handlers
        self._directory = -1
        self._port: Any = None

    def start(self) -> None:
        """Start answering requests. Raises Twisted's error if the socket cannot be opened."""
        # Addressed relative to the open directory, because the kernel limits socket paths to 107 bytes.
        self._directory = os.open(self._work, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        (self._work / socket_name(self._slot)).unlink(missing_ok=True)  # left by a killed process
        factory = _PeerFactory(partial(_ServerProtocol, self._handlers))
        self._port = self._reactor.listenUNIX(self._path(self._slot), factory, mode=0o600)

    async def stop(self) -> None:
        """Stop answering. Idempotent."""
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        directory, self._directory = self._directory, -1
        if directory >= 0:
            os.close(directory)

    async def request_all(self, name: str, *arguments: object) -> list[WorkerResponse]:
        """Send a request with those JSON-serializable arguments to all other workers, and return their responses.
        Workers that fail or do not respond within DEADLINE seconds are omitted."""
        if self._directory < 0:
            return []
        slots = [slot for slot in sorted(_slots_with_sockets(self._work)) if slot != self._slot]
        found = await gatherResults([Deferred.fromCoroutine(self._request(slot, name, arguments)) for slot in slots])
        return [response for response in found if response is not None]

    async def _request(self, slot: int, question: str, words: Sequence[object]) -> WorkerResponse | None:
        client = _ClientProtocol(question, words)
        endpoint = UNIXClientEndpoint(self._reactor, self._path(slot), timeout=DEADLINE)
        try:
            await endpoint.connect(_PeerFactory(lambda: client))
            response = await client.answer.addTimeout(DEADLINE, self._reactor)
        except Exception as error:  # it has ended, is starting or stopping, or hangs
            self._log.debug('Worker {seat} does not respond: {why}', seat=slot, why=str(error) or type(error).__name__)
            if client.transport is not None:
                client.transport.abortConnection()
            return None
        if 'answer' not in response:
            self._log.warn('Worker {seat} failed to respond: {why}', seat=slot, why=response.get('fault'))
            return None
        return WorkerResponse(slot, int(response['pid']), response['answer'])

    def _path(self, slot: int) -> str:
        return f'/proc/self/fd/{self._directory}/{socket_name(slot)}'


def socket_name(slot: int) -> str:
    """Return the name of a worker's socket file in the directory work/."""
    return f'worker-{slot}.sock'


def _slots_with_sockets(work: Path) -> set[int]:
    found = set()
    for path in work.glob('worker-*.sock'):
        with suppress(ValueError):  # not a worker's socket
            found.add(int(path.stem.removeprefix('worker-')))
    return found


METRICS, FINDINGS, LEVEL = 'metrics', 'findings', 'level'


@define(eq=False, kw_only=True)
class WorkerGroup:
    """Extends a worker's metrics and findings with those of the other workers of its server, and sets log levels in all
    workers."""

    reactor: IReactor
    work: Path
    slot: int
    exposition: Any  # zatotx.metrics.exposition.MetricsExposition
    findings: Callable[[], Sequence[str]]  # of this worker
    offload: Callable[..., Deferred[Any]]
    levels: Any  # zatotx.node.logging_setup.LiveLogLevels
    _metrics_store: MetricsStore = field(init=False)
    _peers: WorkerIpc = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._metrics_store = MetricsStore(self.work, self.slot)
        self._peers = WorkerIpc(self.reactor, self.work, self.slot, {
            METRICS: self.exposition.take_sample, FINDINGS: lambda: list(self.findings()), LEVEL: self.levels.apply,
        })  # fmt: skip
        self.levels.others = lambda name, level: Deferred.fromCoroutine(self._peers.request_all(LEVEL, name, level))
        self.exposition.store_sample = self._metrics_store.keep
        self.exposition.fetch_peer_samples = lambda: Deferred.fromCoroutine(self.collect_samples())

    def start(self) -> None:
        """Start answering the requests of the other workers."""
        self._peers.start()

    async def stop(self) -> None:
        """Store the final metrics, then stop answering."""
        try:
            await self.exposition.take_sample()
        finally:
            await self._peers.stop()

    async def collect_samples(self) -> list[MetricSample]:
        """Return the metrics of all other workers, including those that have ended."""
        before = await self.offload(self._metrics_store.load_stored)
        responses = await self._peers.request_all(METRICS)
        return select_samples_to_sum(before, [(response.slot, response.pid, response.value) for response in responses])

    async def found_by_others(self) -> list[str]:
        """Return the findings of the other workers."""
        responses = await self._peers.request_all(FINDINGS)
        return [f'worker {response.slot}: {sentence}' for response in responses for sentence in response.value]
