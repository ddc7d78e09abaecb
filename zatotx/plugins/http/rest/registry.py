"""The connections of one type, by name: those that can be used, and why the others cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import frozen

from zatotx.interfaces.outgoing import not_found
from zatotx.model.errors import Inactive, ServiceError, ServiceUnavailable
from zatotx.plugins.http.rest.connection import OutgoingConnection


@frozen
class UnavailableConnection:
    """A connection that cannot be used; why, as the rest of a sentence about it."""

    title: str
    why: str

    @property
    def sentence(self) -> str:
        return f'{self.title} cannot be used: {self.why}'


class ConnectionRegistry:
    """`kind`: what services call them by, 'rest'. `connections`: those that can be used, swapped at once by one
    assignment."""

    __slots__ = ('_others', 'connections', 'kind')

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.connections: Mapping[str, OutgoingConnection] = {}
        self._others: Mapping[str, UnavailableConnection | None] = {}  # None = switched off

    def put(
        self, connections: Mapping[str, OutgoingConnection], others: Mapping[str, UnavailableConnection | None]
    ) -> None:
        """These are all there are."""
        self.connections, self._others = connections, others

    def find(self, name: str, cid: str | None) -> OutgoingConnection:
        """The connection of that name. Raises NotFound, Inactive, ServiceUnavailable."""
        connection = self.connections.get(name)
        if connection is None:
            raise self._missing(name, cid)
        return connection

    def __iter__(self) -> Iterator[OutgoingConnection]:
        return iter(self.connections.values())

    def unfit(self) -> Iterator[UnavailableConnection]:
        """Those that cannot be used as they are configured."""
        return (other for other in self._others.values() if other is not None)

    def _missing(self, name: str, cid: str | None) -> ServiceError:
        if name not in self._others:
            return not_found(self.kind, name, cid)
        other = self._others[name]
        return Inactive(name, cid) if other is None else ServiceUnavailable(cid, other.sentence)
