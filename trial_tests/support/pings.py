"""Asks a server for /zato/ping at a fixed rate, and measures how long each answer takes."""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections import deque
from contextlib import ExitStack, suppress
from itertools import cycle
from threading import Event, Thread

PATIENCE = 60.0  # seconds until a client gives up: the machine may be busy
_PING_CLIENTS = 20  # connections that ask for /zato/ping in turns


class Pings:
    """Asks for /zato/ping in an open loop while the block runs, at least once: each when it is due, on the next of
    several connections, whether the ones before it were answered or not. `times`: milliseconds of each; one that was
    not answered counts as PATIENCE."""

    def __init__(self, port: int, rate: float, *, core: int | None = None) -> None:
        """`rate`: pings per second. `core`: the only CPU of the thread that asks."""
        self.times: list[float] = []
        self._port, self._interval, self._core = port, 1 / rate, core
        self._over = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Pings:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def p99(self) -> float:
        """The 99th percentile."""
        return sorted(self.times)[(len(self.times) * 99 - 1) // 100]

    def _run(self) -> None:
        if self._core is not None:
            os.sched_setaffinity(0, {self._core})  # of this thread
        with selectors.DefaultSelector() as selector, ExitStack() as stack:
            clients = cycle([stack.enter_context(_PingClient(self._port, selector)) for _ in range(_PING_CLIENTS)])
            began = due = time.perf_counter()
            while not (self._over.is_set() and due > began):
                wait = due - time.perf_counter()
                if wait <= 0:
                    next(clients).send()
                    due += self._interval
                self._receive(selector, max(0.0, wait))
            end = time.perf_counter() + PATIENCE
            while any(key.data.sent for key in selector.get_map().values()) and time.perf_counter() < end:
                self._receive(selector, 0.1)
            lost = sum(len(key.data.sent) for key in selector.get_map().values())
            self.times += [PATIENCE * 1000] * lost

    def _receive(self, selector: selectors.BaseSelector, wait: float) -> None:
        for key, _ in selector.select(wait):
            self.times += key.data.received()


class _PingClient:
    """One connection with pings. `sent`: when those that wait for their answers were sent."""

    def __init__(self, port: int, selector: selectors.BaseSelector) -> None:
        self.sent: deque[float] = deque()
        self._client = socket.create_connection(('127.0.0.1', port), PATIENCE)
        self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client.setblocking(False)
        selector.register(self._client, selectors.EVENT_READ, self)
        self._selector = selector

    def __enter__(self) -> _PingClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def send(self) -> None:
        """Send one more."""
        self.sent.append(time.perf_counter())
        with suppress(OSError):  # a lost connection: its pings count as not answered
            self._client.send(b'GET /zato/ping HTTP/1.1\r\nHost: x\r\n\r\n')

    def received(self) -> list[float]:
        """Milliseconds of the pings whose answers have come."""
        now = time.perf_counter()
        try:
            answers = self._client.recv(65_536)
        except OSError:
            answers = b''
        if not answers:  # a lost connection, whose pings count as not answered
            time.sleep(0.001)
        count = min(len(self.sent), answers.count(b'HTTP/1.1 200 '))
        return [(now - self.sent.popleft()) * 1000 for _ in range(count)]
