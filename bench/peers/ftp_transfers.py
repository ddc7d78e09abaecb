"""Transfers one file by FTP, and prints what came of it as one line of JSON: seconds, seconds of CPU time, and bytes of
peak memory.

    python -m bench.peers.ftp_transfers DIRECTION PORT CA PATH SIZE   # DIRECTION: download, upload; CA: '' = no TLS

Does so with `self.out.ftp['X']`, as services do, in a process without a server. A download is read in chunks, which are
dropped; an upload is read from the file PATH.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor


class Caller:
    """A minimal IServiceCall of a service on the reactor."""

    cid, service, trace = '0123456789abcdef01234567', 'bench', ''

    def __init__(self, reactor: Any) -> None:
        self.deadline = reactor.seconds() + 3600
        self.request = self

    def run(self, begin: Any) -> Any:
        """Return the coroutine, as for an async service."""
        return begin()

    def cancel_with_request(self, deferred: Deferred[Any]) -> None:
        """The request does not end."""


async def files(reactor: Any, port: int, ca: str) -> Any:
    """`self.out.ftp['X']`."""
    from twisted.internet.threads import deferToThread

    from zatotx.interfaces.connector_kind import OutgoingContext
    from zatotx.plugins.ftp.outgoing import make_outgoing
    from zatotx.plugins.ftp.schema.outgoing_ftp import FtpOutgoing
    from zatotx.schema.snapshot import Snapshot, StoredObject

    value = FtpOutgoing(name='X', host='localhost', port=port, tls=bool(ca), tls_ca=ca)
    kind: Any = make_outgoing(OutgoingContext(reactor=reactor, settings={}, run_in_thread=deferToThread))
    await kind.apply(Snapshot(1, [StoredObject(1, 'outgoing_ftp', value, 1)]))
    return kind.namespaces['ftp'](Caller(reactor))['X']


async def transfer(remote: Any, direction: str, path: str, size: int) -> None:
    """Transfer the file. Raises AssertionError if not all of it arrives."""
    name = Path(path).name
    if direction == 'upload':
        await remote.upload(path, f'{name}.uploaded')
        return
    received = 0
    async with remote.open(name) as file:
        async for chunk in file:
            received += len(chunk)
    assert received == size, received


def peak_memory() -> int:
    """Return the peak of the resident memory in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def measure(reactor: Any, direction: str, port: str, ca: str, path: str, size: str) -> dict[str, float]:
    """Log in, and then transfer the file."""
    remote = await files(reactor, int(port), Path(ca).read_text('ascii') if ca else '')
    await remote.ping()
    before, began, cpu = peak_memory(), perf_counter(), process_time()
    await transfer(remote, direction, path, int(size))
    return {'seconds': perf_counter() - began, 'cpu': process_time() - cpu, 'memory': peak_memory() - before}


def main(arguments: list[str]) -> int:
    """Run one measurement. Returns the exit code."""
    reactor = EPollReactor()
    installReactor(reactor)
    code = 1

    def measured(found: dict[str, float]) -> None:
        nonlocal code
        code = 0
        sys.stdout.write(msgspec.json.encode(found).decode() + '\n')

    measuring = Deferred.fromCoroutine(measure(reactor, *arguments))
    measuring.addCallback(measured)
    measuring.addErrback(lambda failure: failure.printTraceback(sys.stderr))
    measuring.addBoth(lambda _: reactor.callLater(0, reactor.stop))
    reactor.run()
    return code


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
