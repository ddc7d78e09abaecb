"""The listening sockets of a server with workers, as its parent process holds them."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from stat import S_ISSOCK

from attrs import define, field
from twisted.internet.protocol import Factory

from zatotx.model.errors import StartError
from zatotx.node.directory_lock import SocketLock
from zatotx.node.endpoint_spec import EndpointSpec, parse_description


class BoundSocket:
    """One socket that listens. Nobody accepts here."""

    def __init__(self, wanted: EndpointSpec) -> None:
        """Raises OSError."""
        self._wanted = wanted
        self._lock: SocketLock | None = None
        if wanted.inherited >= 0:
            self._socket = socket.socket(fileno=os.dup(wanted.inherited))
        else:
            self._socket = socket.socket(wanted.family, socket.SOCK_STREAM)
        try:
            self._socket.setblocking(False)
            if wanted.inherited < 0:
                self._bind(wanted)
        except BaseException:
            self._socket.close()
            self._unlock()
            raise

    @property
    def descriptor(self) -> int:
        """To be inherited by workers."""
        return self._socket.fileno()

    @property
    def port(self) -> int:
        """Of a TCP socket."""
        number: int = self._socket.getsockname()[1]
        return number

    def close(self) -> None:
        """Give the address up."""
        self._socket.close()
        if isinstance(self._wanted.address, str):
            with suppress(FileNotFoundError):
                os.unlink(self._wanted.address)  # noqa: PTH108 - may be an abstract name
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _bind(self, wanted: EndpointSpec) -> None:
        if isinstance(wanted.address, str):
            self._bind_unix(wanted.address, wanted)
        else:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((wanted.interface, wanted.address))
        self._socket.listen(wanted.backlog)

    def _bind_unix(self, path: str, wanted: EndpointSpec) -> None:
        if wanted.lock:
            self._lock = SocketLock(path)
            self._lock.take()
            if _is_served(path):
                raise OSError(errno.EADDRINUSE, 'another process listens there')
            with suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108 - what a killed process left
        os.fchmod(self._socket.fileno(), wanted.mode)  # what the umask leaves of it, from the first moment on
        self._socket.bind(path)
        os.chmod(path, wanted.mode)  # noqa: PTH101


def _is_served(path: str) -> bool:
    """Whether a process listens at the path of a Unix socket: one that has no lock of ours. Raises OSError where
    something else lies there."""
    with suppress(FileNotFoundError):
        if not S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116
            raise OSError(errno.EADDRINUSE, 'a file that is no socket lies there')
    with socket.socket(socket.AF_UNIX) as asking:
        asking.setblocking(False)
        return asking.connect_ex(path) not in (errno.ENOENT, errno.ECONNREFUSED)


@define(eq=False)
class ListeningSockets:
    """By endpoint description."""

    bound: dict[str, BoundSocket] = field(factory=dict)

    def open(self, descriptions: Iterable[str]) -> None:
        """Have all of them bound; those that are already stay as they are. Raises StartError naming the first that
        cannot be, and then nothing has changed."""
        added: dict[str, BoundSocket] = {}
        for description in descriptions:
            if description not in self.bound and description not in added:
                try:
                    added[description] = bind(description)
                except Exception as error:  # whatever an endpoint's parser or its files come up with
                    for socket_ in added.values():
                        socket_.close()
                    raise StartError(cannot_listen(description, error)) from error
        self.bound.update(added)

    def keep(self, descriptions: Iterable[str]) -> None:
        """Close the others."""
        kept = set(descriptions)
        for description in self.bound.keys() - kept:
            self.bound.pop(description).close()

    def descriptors(self) -> Mapping[str, int]:
        """What a worker inherits."""
        return {description: bound.descriptor for description, bound in self.bound.items()}


def bind(description: str) -> BoundSocket:
    """The listening socket of an endpoint description. Raises ValueError, OSError, or what its parser raises."""
    wanted = parse_description(description, Factory())
    if wanted is None:
        raise ValueError('with workers it has to be a tcp:, ssl:, unix: or systemd: description')
    return BoundSocket(wanted)


def cannot_listen(description: str, error: Exception) -> str:
    """The sentence for people."""
    why = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return (f'[http] listen: cannot listen on {description!r}: {why}; choose another address in config/server.toml, or '
            'end what uses this one')  # fmt: skip
