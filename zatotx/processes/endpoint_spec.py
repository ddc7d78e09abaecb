"""Parses Twisted endpoint descriptions. Twisted's own parsers are run with a reactor that only records the calls."""

from __future__ import annotations

import socket
from typing import Any

from attrs import frozen
from twisted.internet.endpoints import serverFromString

BACKLOG = 1024  # default length of the kernel's accept queue
UNIX_MODE = 0o660  # default file mode of a Unix socket
PROXY_PREFIX = 'haproxy:'  # prefix of endpoints to which proxies connect with the PROXY protocol
_INET_KINDS = ('tcp', 'tcp6', 'ssl')


@frozen(kw_only=True)
class EndpointSpec:
    """A parsed endpoint description: the arguments of the reactor's listen call."""

    factory: Any
    address: int | str = 0  # a port, or the path of a Unix socket
    interface: str = ''
    backlog: int = BACKLOG
    mode: int = UNIX_MODE  # of a Unix socket's file
    use_lock_file: bool = False  # whether a Unix socket has a lock file
    tls_context: Any = None  # TLS context
    inherited_descriptor: int = -1  # descriptor of a socket that a process manager bound (systemd:)

    @property
    def family(self) -> socket.AddressFamily:
        """AF_UNIX, AF_INET6 or AF_INET."""
        if isinstance(self.address, str):
            return socket.AF_UNIX
        return socket.AF_INET6 if ':' in self.interface else socket.AF_INET


class _RecordingReactor:
    """A reactor that records the arguments of its listen calls. The method names are those of IReactorTCP, IReactorSSL,
    IReactorUNIX and IReactorSocket."""

    def __init__(self) -> None:
        self.wanted: EndpointSpec | None = None

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = '') -> None:
        self.wanted = EndpointSpec(address=port, factory=factory, backlog=backlog, interface=interface)

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = '') -> None:
        self.wanted = EndpointSpec(address=port, factory=factory, backlog=backlog, interface=interface,
                             tls_context=contextFactory)

    def listenUNIX(self, address: str, factory: Any, backlog: int = 50, mode: int = UNIX_MODE, wantPID: bool = False
                   ) -> None:
        self.wanted = EndpointSpec(address=address, factory=factory, backlog=backlog, mode=mode, use_lock_file=wantPID)

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> None:
        self.wanted = EndpointSpec(factory=factory, inherited_descriptor=fileDescriptor)


def parse_endpoint(description: str, factory: Any) -> EndpointSpec | None:
    """Parse an endpoint description. Returns None for an endpoint type other than TCP, TLS, Unix or inherited sockets.
    Raises the errors of Twisted's parsers, and the errors that reading the certificate files raises."""
    reactor: Any = _RecordingReactor()
    errors: list[Exception] = []
    endpoint = serverFromString(reactor, add_defaults(strip_proxy_prefix(description)))
    try:
        endpoint.listen(factory).addErrback(lambda failure: errors.append(failure.value))
    except AttributeError:  # the endpoint calls a method that _RecordingReactor lacks
        return None
    if errors and not isinstance(errors[0], AttributeError):
        raise errors[0]
    spec: EndpointSpec | None = reactor.wanted
    return spec


def strip_proxy_prefix(description: str) -> str:
    """Return the description of the endpoint inside a `haproxy:` endpoint; other descriptions are returned unchanged.
    The PROXY protocol is read by `processes.proxy_protocol_endpoint`."""
    return description.removeprefix(PROXY_PREFIX)


def add_defaults(description: str) -> str:
    """Add zatotx's defaults for missing parameters to an endpoint description. The accept queue is longer than
    Twisted's 50, and only the server's user and group may connect to a Unix socket, whereas Twisted admits every
    user."""
    kind, *words = description.replace('\\:', '\0').split(':')
    if kind in _INET_KINDS and 'backlog=' not in description:
        return f'{description}:backlog={BACKLOG}'
    has_mode = sum('=' not in word for word in words) > 1 or any(word.startswith('mode=') for word in words)
    return f'{description}:mode={UNIX_MODE:o}' if kind == 'unix' and not has_mode else description
