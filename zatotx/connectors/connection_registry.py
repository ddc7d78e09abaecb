"""Registry of the outgoing connections of one object type, by name. It also holds the reasons why some connections
cannot be used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from attrs import frozen

from zatotx.interfaces.outgoing import connection_not_found
from zatotx.model.errors import Inactive, ServiceError, ServiceUnavailable

T = TypeVar('T')


@frozen
class UnavailableConnection:
    """A placeholder for a connection that cannot be built from its configuration. `reason` completes a sentence that
    begins with the name of the connection."""

    title: str
    reason: str

    @property
    def sentence(self) -> str:
        """The whole sentence, for findings and errors."""
        return f'{self.title} cannot be used: {self.reason}'


class ConnectionRegistry(Generic[T]):
    """Finds the connections of one object type by name.

    `kind`: the name that services use, such as 'rest'. `connections`: the usable ones, replaced as a whole by one
    assignment, so that no caller sees half of a change.
    """

    __slots__ = ('_others', 'connections', 'kind')

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.connections: Mapping[str, T] = {}
        self._others: Mapping[str, UnavailableConnection | None] = {}  # None = inactive

    def replace(self, connections: Mapping[str, T], others: Mapping[str, UnavailableConnection | None]) -> None:
        """Replace all connections. `others`: the names that cannot be used; None = inactive."""
        self.connections, self._others = connections, others

    def find(self, name: str, cid: str | None) -> T:
        """The connection of that name. Raises NotFound, Inactive or ServiceUnavailable."""
        connection = self.connections.get(name)
        if connection is None:
            raise self._missing(name, cid)
        return connection

    def __iter__(self) -> Iterator[T]:
        return iter(self.connections.values())

    def unavailable(self) -> Iterator[UnavailableConnection]:
        """The connections whose configuration cannot be used on this machine."""
        return (other for other in self._others.values() if other is not None)

    def _missing(self, name: str, cid: str | None) -> ServiceError:
        if name not in self._others:
            return connection_not_found(self.kind, name, cid)
        other = self._others[name]
        return Inactive(name, cid) if other is None else ServiceUnavailable(cid, other.sentence)
