"""Many clients at once: a closed loop of keep-alive connections whose every answer is kept."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread

import msgspec

from trial_tests.support.rawhttp import Answer, Connection, NoAnswer, request_bytes


class Seen(msgspec.Struct, frozen=True):
    """One request of the load: when it was sent and answered (monotonic seconds), and what came."""

    sent: float
    took: float
    answer: Answer | None
    failure: str = ''


class Load:
    """So many clients that ask the same again and again until stopped."""

    def __init__(self, port: int, request: bytes, clients: int = 4, pause: float = 0.0) -> None:
        self._port, self._request, self._pause = port, request, pause
        self._lock, self._over = Lock(), Event()
        self.seen: list[Seen] = []
        self._threads = [Thread(target=self._client, daemon=True) for _ in range(clients)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> list[Seen]:
        """All that was seen, once the last client is done."""
        self._over.set()
        for thread in self._threads:
            thread.join(30)
        return self.seen

    def _client(self) -> None:
        connection: Connection | None = None
        while not self._over.is_set():
            began, answer, failure = time.monotonic(), None, ''
            try:
                connection = connection or Connection(self._port)
                connection.send(self._request)
                answer = connection.answer()
            except (NoAnswer, OSError) as why:
                failure = repr(why)
            self._keep(Seen(began, time.monotonic() - began, answer, failure))
            if connection and (answer is None or answer.field('connection').lower() == 'close'):
                connection.drop()
                connection = None
            self._over.wait(self._pause)
        if connection:
            connection.drop()

    def _keep(self, seen: Seen) -> None:
        with self._lock:
            self.seen.append(seen)


@contextmanager
def loaded(port: int, method: str, target: str, *, fields: dict[str, str] | None = None, body: bytes = b'',
           clients: int = 4, pause: float = 0.0) -> Iterator[Load]:
    """Load while the block runs; `load.seen` is complete after it."""
    load = Load(port, request_bytes(method, target, fields, body), clients, pause)
    load.start()
    try:
        yield load
    finally:
        load.stop()


def statuses(seen: list[Seen]) -> Counter[str]:
    """How often each status, or each failure, came."""
    return Counter(str(one.answer.status) if one.answer else one.failure for one in seen)


def percentile(seen: list[Seen], share: float) -> float:
    """The time that this share of the answered requests stayed within, in seconds."""
    times = sorted(one.took for one in seen if one.answer)
    if not times:
        raise AssertionError('nothing was answered')
    return times[min(len(times) - 1, int(len(times) * share))]
