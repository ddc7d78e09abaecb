"""Outgoing connections as services reach them: `self.out.<kind>[<name>]`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from zatotx.interfaces.config import Prepared
from zatotx.model.errors import NotFound
from zatotx.schema.snapshot import Snapshot


class ICall(Interface):
    """The call of a service that wants to use a connection."""

    cid: str = Attribute('The correlation id, for faults and for what goes out')
    service: str = Attribute('The name of the service')
    deadline: float = Attribute("When its answer has to be there, seconds on the reactor's clock")
    trace: str = Attribute('The W3C traceparent to send on, or an empty text')

    def result(begin: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """What a method of a connection returns to the service: an awaitable where the service runs on the reactor;
        where it runs in a thread the result itself, once the coroutine that `begin` makes has given it there."""


class IOutgoing(Interface):
    """The outgoing connections of a node."""

    def kind(name: str, call: ICall) -> Any:
        """What `self.out.<name>` is for one call: an object whose `[connection]` and `get(connection)` give a
        connection and raise NotFound or Inactive naming it. None where the node has no connections of that kind."""

    def why_not(name: str) -> str:
        """Why there is no kind of that name, and what to do: it is not installed, or the name is wrong. In words
        that go on after the name."""

    def ping(object_type: str, name: str) -> Deferred[str]:
        """Try whether the peer of a connection answers; what it said, for people. `object_type`: the key of its type,
        'outgoing_rest'. Fails with NotFound where its kind cannot be asked, else as a call of the connection does."""


class IOutgoingKind(Interface):
    """The outgoing connections of one kind in one node."""

    doors: Mapping[str, Callable[[ICall], Any]] = Attribute(
        "What `self.out.<name>` is, for one call: {'rest': …}; see IOutgoing.kind"
    )
    types: Sequence[str] = Attribute('Keys of the object types that can be asked by `ping`')

    def prepare(snapshot: Snapshot) -> Deferred[Prepared]:
        """Build the new configuration beside the old one. Its `commit` swaps it whole, at once: the node commits all
        parts together when the last one is prepared. Calls under way end with what they began with."""

    def apply(snapshot: Snapshot) -> Deferred[None]:
        """Prepare and commit this part alone. Fires when it is in force."""

    def ping(object_type: str, name: str) -> Deferred[str]:
        """See IOutgoing.ping."""

    def stop() -> Deferred[None]:
        """End what is left, and let go of all connections. Fires when that is done."""


def not_found(kind: str, name: str, cid: str | None) -> NotFound:
    """What asking for a connection raises that is not there."""
    return NotFound(cid, f'There is no outgoing connection {name!r} of kind {kind}')
