"""Two processes that serve one port, with a shared listening socket or with SO_REUSEPORT.

    python -m bench.peers.twisted_workers PORT shared|reuseport

With `shared`, both processes inherit one listening socket, like zatotx's workers. With `reuseport`, each has its own
socket with SO_REUSEPORT, and the kernel distributes connections by a hash of their addresses. They serve the echo of
`twisted_echo`, but return the process ID.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import ServerFactory

from bench.peers.twisted_echo import Echo
from trial_tests.support.reactor import as_reactor
from zatotx.processes.workers.shared_counters import SharedCounters, create_counters_file
from zatotx.processes.workers.shared_listeners import adopt_tcp

_HEAD = b'HTTP/1.1 200 OK\r\nConnection: %s\r\nContent-Length: %d\r\n\r\n'


class NamedEcho(Echo):
    """Returns the process ID."""

    def on_message_complete(self) -> None:
        self._body = b''
        body = b'%d' % os.getpid()
        assert self.transport is not None
        if self._parser.should_keep_alive():
            self.transport.write(_HEAD % (b'keep-alive', len(body)) + body)
        else:
            self.transport.write(_HEAD % (b'close', len(body)) + body)
            self.transport.loseConnection()


def listener(port: int, *, share_port: bool) -> socket.socket:
    """Create a listening socket."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if share_port:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.setblocking(False)
    made.bind(('127.0.0.1', port))
    made.listen(1024)
    return made


def serve(port: int, shared: socket.socket | None, folder: Path, seat: int) -> None:
    """Serve in one of the two processes. `folder` contains the shared counters of their connections."""
    reactor = EPollReactor()
    factory = ServerFactory.forProtocol(NamedEcho)
    if shared is not None:
        row = SharedCounters(folder).row('connections', seat)
        adopt_tcp(as_reactor(reactor), shared.fileno(), socket.AF_INET, factory, row)
    else:
        own = listener(port, share_port=True)
        reactor.adoptStreamPort(own.fileno(), socket.AF_INET, factory)
    reactor.run()


def main(port: int, mode: str) -> None:
    """Serve until SIGTERM, which stops the reactor of the first process; the other one is then killed."""
    shared = listener(port, share_port=False) if mode == 'shared' else None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        create_counters_file(folder, 2)
        child = os.fork()
        if not child:
            serve(port, shared, folder, 0)
            os._exit(0)
        try:
            serve(port, shared, folder, 1)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


if __name__ == '__main__':
    main(int(sys.argv[1]), sys.argv[2])
