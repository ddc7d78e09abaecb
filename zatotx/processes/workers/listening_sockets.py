"""The listening sockets of a server with workers, which the parent process holds."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from stat import S_ISSOCK
from types import MappingProxyType

from attrs import define, field
from twisted.internet.protocol import Factory

from zatotx.model.errors import StartError
from zatotx.processes.endpoint_spec import EndpointSpec, parse_endpoint
from zatotx.processes.lock_files import SocketLockFile


class BoundSocket:
    """A listening socket on which this process does not accept connections."""

    def __init__(self, spec: EndpointSpec) -> None:
        """Bind the socket and listen. Raises OSError."""
        self._spec = spec
        self._lock: SocketLockFile | None = None
        if spec.inherited_descriptor >= 0:
            self._socket = socket.socket(fileno=os.dup(spec.inherited_descriptor))
        else:
            self._socket = socket.socket(spec.family, socket.SOCK_STREAM)
        try:
            self._socket.setblocking(False)
            if spec.inherited_descriptor < 0:
                self._bind(spec)
        except BaseException:
            self._socket.close()
            self._unlock()
            raise

    @property
    def descriptor(self) -> int:
        """The file descriptor that workers inherit."""
        return self._socket.fileno()

    @property
    def port(self) -> int:
        """The port of a TCP socket."""
        number: int = self._socket.getsockname()[1]
        return number

    def close(self) -> None:
        """Close the socket, and remove the file of a Unix socket."""
        self._socket.close()
        if isinstance(self._spec.address, str):
            with suppress(FileNotFoundError):
                os.unlink(self._spec.address)  # noqa: PTH108 - may be an abstract name
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _bind(self, spec: EndpointSpec) -> None:
        if isinstance(spec.address, str):
            self._bind_unix(spec.address, spec)
        else:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((spec.interface, spec.address))
        self._socket.listen(spec.backlog)

    def _bind_unix(self, path: str, spec: EndpointSpec) -> None:
        if spec.use_lock_file:
            self._lock = SocketLockFile(path)
            self._lock.acquire()
            if _is_served(path):
                raise OSError(errno.EADDRINUSE, 'another process listens there')
            with suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108 - left by a killed process
        os.fchmod(self._socket.fileno(), spec.mode)  # before bind(), which also applies the umask
        self._socket.bind(path)
        os.chmod(path, spec.mode)  # noqa: PTH101


def _is_served(path: str) -> bool:
    """Whether a process that does not use our lock file listens on a Unix socket. Raises OSError if the path is not a
    socket."""
    with suppress(FileNotFoundError):
        if not S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116
            raise OSError(errno.EADDRINUSE, 'the path exists and is not a socket')
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        return client.connect_ex(path) not in (errno.ENOENT, errno.ECONNREFUSED)


@define(eq=False)
class ListeningSockets:
    """The bound sockets of a server, by endpoint description."""

    bound: dict[str, BoundSocket] = field(factory=dict)

    def open(self, descriptions: Iterable[str], sections: Mapping[str, str] = MappingProxyType({})) -> None:
        """Bind all sockets that are not bound yet. `sections`: the sections of server.toml with the descriptions, for
        error messages. Raises StartError that names the first one that cannot be bound; then none is added."""
        added: dict[str, BoundSocket] = {}
        for description in descriptions:
            if description not in self.bound and description not in added:
                try:
                    added[description] = bind_listening_socket(description)
                except Exception as error:  # endpoint parsers and their files raise various types
                    for socket_ in added.values():
                        socket_.close()
                    raise StartError(listen_error_message(description, error, sections.get(description, ''))) from error
        self.bound.update(added)

    def close_except(self, descriptions: Iterable[str]) -> None:
        """Close all sockets except those of the descriptions."""
        kept = set(descriptions)
        for description in self.bound.keys() - kept:
            self.bound.pop(description).close()

    def descriptors(self) -> Mapping[str, int]:
        """Return the file descriptors that a worker inherits, by description."""
        return {description: bound.descriptor for description, bound in self.bound.items()}


def bind_listening_socket(description: str) -> BoundSocket:
    """Bind the listening socket of an endpoint description, and return the socket. Raises ValueError, OSError, or the
    errors of the description's parser."""
    spec = parse_endpoint(description, Factory())
    if spec is None:
        raise ValueError('a server with workers supports tcp:, ssl:, unix: and systemd: endpoints only')
    return BoundSocket(spec)


def listen_error_message(description: str, error: Exception, section: str) -> str:
    """Return the error message for an endpoint that cannot be bound. `section` is the section of server.toml, or '' if
    it is unknown."""
    setting = f'[{section}] listen: ' if section else ''
    reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return (
        f'{setting}cannot listen on {description!r}: {reason}; choose another address in config/server.toml, or '
        'stop the program that uses this one'
    )
