"""What an endpoint description asks for, found out by Twisted's own parsers: they are given a reactor that only notes
what it is asked to listen on."""

from __future__ import annotations

import socket
from typing import Any

from attrs import frozen
from twisted.internet.endpoints import serverFromString

BACKLOG = 1024  # connections the kernel may hold until we accept them, where the description does not say
UNIX_MODE = 0o660  # of a Unix socket, where the description does not say
PROXIED = 'haproxy:'  # what the description of an endpoint begins with to which a proxy connects, by the PROXY protocol
_INET_KINDS = ('tcp', 'tcp6', 'ssl')


@frozen(kw_only=True)
class EndpointSpec:
    """What a description asks a reactor for."""

    factory: Any
    address: int | str = 0  # a port, or the path of a Unix socket
    interface: str = ''
    backlog: int = BACKLOG
    mode: int = UNIX_MODE  # of a Unix socket's file
    lock: bool = False  # whether a lock file goes with a Unix socket
    context: Any = None  # of TLS
    inherited: int = -1  # the descriptor that a process manager bound (systemd:)

    @property
    def family(self) -> socket.AddressFamily:
        """AF_UNIX, AF_INET6 or AF_INET."""
        if isinstance(self.address, str):
            return socket.AF_UNIX
        return socket.AF_INET6 if ':' in self.interface else socket.AF_INET


class _Notes:
    """A reactor that notes what it is asked for. Its names are IReactorTCP's, IReactorSSL's …"""

    def __init__(self) -> None:
        self.wanted: EndpointSpec | None = None

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = '') -> None:
        self.wanted = EndpointSpec(address=port, factory=factory, backlog=backlog, interface=interface)

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = '') -> None:
        self.wanted = EndpointSpec(address=port, factory=factory, backlog=backlog, interface=interface,
                             context=contextFactory)

    def listenUNIX(self, address: str, factory: Any, backlog: int = 50, mode: int = UNIX_MODE, wantPID: bool = False
                   ) -> None:
        self.wanted = EndpointSpec(address=address, factory=factory, backlog=backlog, mode=mode, lock=wantPID)

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> None:
        self.wanted = EndpointSpec(factory=factory, inherited=fileDescriptor)


def parse_description(description: str, factory: Any) -> EndpointSpec | None:
    """What a description asks for; None where it is of a kind that asks for something else. Raises what Twisted's
    parsers, and the files of a certificate, come up with."""
    notes: Any = _Notes()
    failed: list[Exception] = []
    endpoint = serverFromString(notes, with_defaults(without_proxy(description)))
    try:
        endpoint.listen(factory).addErrback(lambda failure: failed.append(failure.value))
    except AttributeError:  # it asks for what the notes do not have
        return None
    if failed and not isinstance(failed[0], AttributeError):
        raise failed[0]
    wanted: EndpointSpec | None = notes.wanted
    return wanted


def without_proxy(description: str) -> str:
    """The description of what a `haproxy:` endpoint listens on; any other one as it is. The PROXY protocol is read by
    `node.proxy_protocol`."""
    return description.removeprefix(PROXIED)


def with_defaults(description: str) -> str:
    """The description with our defaults for what it leaves open: a longer queue of connections than Twisted's 50, and
    a Unix socket that only the user and group of the server may connect to, where Twisted lets everybody."""
    kind, *words = description.replace('\\:', '\0').split(':')
    if kind in _INET_KINDS and 'backlog=' not in description:
        return f'{description}:backlog={BACKLOG}'
    has_mode = sum('=' not in word for word in words) > 1 or any(word.startswith('mode=') for word in words)
    return f'{description}:mode={UNIX_MODE:o}' if kind == 'unix' and not has_mode else description
