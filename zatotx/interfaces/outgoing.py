"""Interfaces of outgoing connections, which services use as `self.out.<kind>[<name>]`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from zatotx.interfaces.config import PreparedConfigChange
from zatotx.model.errors import NotFound
from zatotx.schema.snapshot import Snapshot


class IServiceCall(Interface):
    """The service invocation that calls an outgoing connection."""

    cid: str = Attribute('The correlation id, for errors and outgoing messages')
    service: str = Attribute('The name of the service')
    deadline: float = Attribute("The deadline of the service, in seconds on the reactor's clock")
    trace: str = Attribute('The W3C traceparent to propagate, or an empty text')
    request: object = Attribute('Identity of the request: one object for all services that invoke each other for it')

    def run(begin: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run a coroutine on the reactor and return what a connection's method returns to the service: an awaitable if
        the service runs on the reactor, else the result, for which the thread waits."""

    def cancel_with_request(deferred: Deferred[Any]) -> None:
        """Cancel the Deferred if the request ends while the service still runs in a thread. Reactor's thread only."""


class IOutgoingConnections(Interface):
    """The outgoing connections of a node."""

    def namespace(name: str, call: IServiceCall) -> Any:
        """Return `self.out.<name>` for one call: its `[connection]` and `get(connection)` return a connection, or raise
        NotFound or Inactive. Returns None if the node has no connections of that kind."""

    def unavailable_reason(name: str) -> str:
        """Return why there is no kind of that name and what to do (not installed, or unknown), as a clause that follows
        the name."""

    def ping(object_type: str, name: str) -> Deferred[str]:
        """Check whether the peer of a connection responds; fires with its response in readable form. `object_type`: the
        key of the type, e.g. 'outgoing_rest'. Fails with NotFound if the kind does not support it, else like a call."""


class IOutgoingKind(Interface):
    """The outgoing connections of one kind in one node."""

    namespaces: Mapping[str, Callable[[IServiceCall], Any]] = Attribute(
        "The factories of `self.out.<name>` for one call: {'rest': …}; see IOutgoing.kind"
    )
    pingable_types: Sequence[str] = Attribute('Keys of the object types that support `ping`')

    def prepare(snapshot: Snapshot) -> Deferred[PreparedConfigChange]:
        """Build the new configuration beside the active one. `commit` swaps it synchronously; the node commits all
        components together after the last one is prepared. Calls in progress keep the configuration they started
        with."""

    def apply(snapshot: Snapshot) -> Deferred[None]:
        """Prepare and commit this component alone. Fires when the configuration is active."""

    def ping(object_type: str, name: str) -> Deferred[str]:
        """See IOutgoing.ping."""

    def stop() -> Deferred[None]:
        """End the remaining calls and close all connections. Fires when that is done."""


def connection_not_found(kind: str, name: str, cid: str | None) -> NotFound:
    """Return the error for an unknown outgoing connection."""
    return NotFound(cid, f'There is no outgoing connection {name!r} of kind {kind}')


@frozen(kw_only=True)
class FetchedDocument:
    """The content and metadata of a document that was fetched from a URL."""

    status: int
    headers: Mapping[bytes, bytes]  # by lower-case name
    body: bytes


class IFetcher(Interface):
    """A simple HTTP client with a timeout and a size limit."""

    def fetch(url: str, *, timeout: float, max_body: int) -> Deferred[FetchedDocument]:
        """Send a GET request. Certificates are verified, and redirects are not followed. `timeout`: seconds for the
        whole call; `max_body`: maximum body size in bytes. Fails with Timeout or ServiceUnavailable, each naming the
        URL's host."""
