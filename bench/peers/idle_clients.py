"""Opens connections that send one request each, and keeps them open until its standard input ends.

    python -m bench.peers.idle_clients PORT COUNT TLS

TLS is not empty for connections over TLS. Prints a line when all are open.
"""

from __future__ import annotations

import socket
import ssl
import sys

from bench.footprint import allow_files

_REQUEST = b'GET / HTTP/1.1\r\nHost: bench\r\n\r\n'


def main(port: int, count: int, *, tls: bool) -> None:
    """Open the connections."""
    allow_files(count + 200)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connections: list[socket.socket] = []
    for _ in range(count):
        connection: socket.socket = socket.create_connection(('127.0.0.1', port), timeout=30)
        if tls:
            connection = context.wrap_socket(connection)
        connection.sendall(_REQUEST)
        if not connection.recv(65536).startswith(b'HTTP/1.1 200 '):
            sys.exit('A request was not answered')
        connections.append(connection)
    print('open', flush=True)
    sys.stdin.buffer.read()


if __name__ == '__main__':
    main(int(sys.argv[1]), int(sys.argv[2]), tls=bool(sys.argv[3]))
