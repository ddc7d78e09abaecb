"""Open-loop load generator: sends requests at a fixed rate without waiting for responses, like independent clients.

wrk is a closed loop: it waits for responses and cannot overload a server.

    python -m bench.openloop PORT RATE SECONDS CONNECTIONS < request

Prints one JSON object. If all connections are waiting for a response, a request that is due is not sent, but counted.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections import Counter, deque

import msgspec

_END = b'\r\n\r\n'
_LENGTH = b'content-length:'


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a run."""

    due: int
    unsent: int  # no connection was free
    broken: int  # connections that the server closed
    seconds: float
    statuses: dict[str, int]
    p99: float = 0.0  # seconds from the time at which a request was due to its response

    @property
    def goodput(self) -> float:
        """Successful responses per second."""
        return self.statuses.get('200', 0) / self.seconds


class OpenLoop:
    """A run over keep-alive connections, each with one request at a time."""

    def __init__(self, port: int, request: bytes, connections: int) -> None:
        self._request = request
        self._poller = select.epoll()
        self._open: dict[int, socket.socket] = {}
        self._heard: dict[int, bytes] = {}
        self._due_at: dict[int, float] = {}
        self._latencies: list[float] = []
        for _ in range(connections):
            client = socket.create_connection(('127.0.0.1', port), timeout=15)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.setblocking(False)
            self._open[client.fileno()] = client
            self._poller.register(client, select.EPOLLIN)
        self._free = deque(self._open)  # least recently used first, so that none reaches the idle timeout
        self._statuses: Counter[str] = Counter()
        self._unsent = self._broken = 0
        self.grace = 5.0  # seconds to wait for the last responses

    def run(self, rate: float, seconds: float) -> Outcome:
        """Send `rate` requests per second, then wait for the last responses.

        Only responses that arrive while requests are being sent count.
        """
        began = time.perf_counter()
        due, total = 0, round(rate * seconds)
        while due < total:
            wanted = min(total, int((time.perf_counter() - began) * rate) + 1)
            while due < wanted:
                self._send(began + due / rate)
                due += 1
            self._listen(max(0.0, began + due / rate - time.perf_counter()))
        took = time.perf_counter() - began
        statuses = dict(self._statuses)
        end = time.perf_counter() + self.grace
        while len(self._free) < len(self._open) and time.perf_counter() < end:
            self._listen(0.1)
        latencies = sorted(self._latencies) or [0.0]
        return Outcome(due=due, unsent=self._unsent, broken=self._broken, seconds=took, statuses=statuses,
                       p99=latencies[len(latencies) * 99 // 100])  # fmt: skip

    def _send(self, due_at: float) -> None:
        if not self._free:
            self._unsent += 1
            return
        number = self._free.popleft()
        self._heard[number] = b''
        self._due_at[number] = due_at
        try:
            self._open[number].send(self._request)
        except OSError:
            self._end(number)

    def _listen(self, timeout: float) -> None:
        for number, _ in self._poller.poll(timeout):
            try:
                data = self._open[number].recv(65536)
            except OSError:
                data = b''
            if data:
                self._hear(number, data)
            else:
                self._end(number)

    def _hear(self, number: int, data: bytes) -> None:
        heard = self._heard[number] = self._heard.get(number, b'') + data
        head = heard.find(_END)
        if head < 0:
            return
        at = heard[:head].lower().find(_LENGTH)
        length = int(heard[at + len(_LENGTH) : head].split(b'\r\n', 1)[0]) if at >= 0 else 0
        if len(heard) >= head + len(_END) + length:
            self._statuses[heard[9:12].decode()] += 1
            self._latencies.append(time.perf_counter() - self._due_at[number])
            self._free.append(number)

    def _end(self, number: int) -> None:
        self._broken += 1
        self._poller.unregister(number)
        self._open.pop(number).close()
        if number in self._free:
            self._free.remove(number)


def main(port: str, rate: str, seconds: str, connections: str) -> None:
    """Run once and print the result on stdout."""
    loop = OpenLoop(int(port), sys.stdin.buffer.read(), int(connections))
    sys.stdout.buffer.write(msgspec.json.encode(loop.run(float(rate), float(seconds))))


if __name__ == '__main__':
    main(*sys.argv[1:])
