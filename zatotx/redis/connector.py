"""Connections to an address: TCP, TLS, or a Unix socket with a path of any length."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory

from zatotx.redis.tls import tls_client_options
from zatotx.redis.url import RedisAddress

_MAX_SOCKET_PATH = 100  # bytes; sun_path holds 108 in Linux, including its NUL, fewer elsewhere


class _SingleProtocolFactory(Factory):
    noisy = False

    def __init__(self, protocol: IProtocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> Any:
        return self._protocol


async def connect(reactor: Any, address: RedisAddress, protocol: Any, timeout: float) -> None:
    """Connect `protocol` (an IProtocol) to the address within `timeout` seconds. Raises what Twisted's endpoints raise,
    OSError if the directory of the socket does not exist, UnfitError for unusable TLS files. A certificate that is not
    trusted is detected by the first command: the connection ends then, and the protocol learns the reason."""
    if not address.path:
        endpoint: Any = HostnameEndpoint(reactor, address.host, address.port, timeout=timeout)
        if address.tls is not None:
            endpoint = wrapClientTLS(tls_client_options(address.host, address.tls), endpoint)
        await _connect(endpoint, protocol)
        return
    path = Path(address.path)
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        await _connect(_unix_endpoint(reactor, str(path), timeout), protocol)
        return
    # The directory is opened with O_PATH, which gives the socket a short name below /proc/self/fd.
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        await _connect(_unix_endpoint(reactor, f'/proc/self/fd/{directory}/{path.name}', timeout), protocol)
    finally:
        os.close(directory)


async def _connect(endpoint: Any, protocol: Any) -> None:
    try:
        await endpoint.connect(_SingleProtocolFactory(protocol))
    except ConnectingCancelledError:  # callers expect a CancelledError
        raise CancelledError from None


def _unix_endpoint(reactor: Any, path: str, timeout: float) -> Any:
    return UNIXClientEndpoint(reactor, path, timeout=timeout)
