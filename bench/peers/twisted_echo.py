"""The baseline of the broker: Twisted's epoll reactor and llhttp (httptools) only.

    python -m bench.peers.twisted_echo PORT

Parses each request and returns its body, without routing, security, logs or limits. The difference between this rate
and the rate of the broker is the overhead of the broker.
"""

from __future__ import annotations

import sys

import httptools
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import Protocol, ServerFactory

_HEAD = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n'


class Echo(Protocol):
    """A connection that also receives the callbacks of httptools."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._body = b''

    def dataReceived(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        body, self._body = self._body, b''
        assert self.transport is not None
        self.transport.write(_HEAD % len(body) + body)
        if not self._parser.should_keep_alive():
            self.transport.loseConnection()


def main(port: int) -> None:
    """Serve until the process is killed."""
    reactor = EPollReactor()
    reactor.listenTCP(port, ServerFactory.forProtocol(Echo), backlog=1024, interface='127.0.0.1')
    reactor.run()


if __name__ == '__main__':
    main(int(sys.argv[1]))
