"""Connecting to an address: TCP, TLS, or a Unix socket whose path may be of any length."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory

from zatotx.redis.tls import client_options
from zatotx.redis.url import RedisAddress

_LONGEST = 100  # bytes; the kernel's sun_path holds 108 with its NUL, some systems' fewer


class _Once(Factory):
    noisy = False

    def __init__(self, protocol: IProtocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> Any:
        return self._protocol


async def connect(reactor: Any, address: RedisAddress, protocol: Any, timeout: float) -> None:
    """Connect `protocol` (an IProtocol) to the address within `timeout` seconds. Raises what Twisted's endpoints
    raise, OSError where the socket's directory is not there, UnfitError for files of TLS that will not do. Whom TLS
    does not trust is found by the first command: the connection ends then, and the protocol is told why."""
    if not address.path:
        endpoint: Any = HostnameEndpoint(reactor, address.host, address.port, timeout=timeout)
        if address.tls is not None:
            endpoint = wrapClientTLS(client_options(address.host, address.tls), endpoint)
        await _connect(endpoint, protocol)
        return
    path = Path(address.path)
    if len(os.fsencode(path)) <= _LONGEST:
        await _connect(_socket(reactor, str(path), timeout), protocol)
        return
    # The directory is opened as a mere place (O_PATH) and the socket named from there, in a few bytes.
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        await _connect(_socket(reactor, f'/proc/self/fd/{directory}/{path.name}', timeout), protocol)
    finally:
        os.close(directory)


async def _connect(endpoint: Any, protocol: Any) -> None:
    try:
        await endpoint.connect(_Once(protocol))
    except ConnectingCancelledError:  # an error like others to whoever catches them, and no CancelledError
        raise CancelledError from None


def _socket(reactor: Any, path: str, timeout: float) -> Any:
    return UNIXClientEndpoint(reactor, path, timeout=timeout)
