"""Opens TCP connections by endpoints, in a way that can be cancelled."""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

P = TypeVar('P', bound=Protocol)


def connect_protocol(endpoint: IStreamClientEndpoint, protocol: P) -> Deferred[P]:
    """Connect a protocol. Fails with ConnectError and DNSLookupError. Cancelling it fails with CancelledError, where
    the endpoints of Twisted fail with one of the former, so that it looks like an error of the peer."""
    factory: Factory[P] = Factory.forProtocol(lambda: protocol)
    factory.noisy = False
    attempt: Deferred[Any] = endpoint.connect(factory)
    is_cancelled = False

    def cancel(deferred: Deferred[P]) -> None:
        nonlocal is_cancelled
        is_cancelled = True
        attempt.cancel()

    def failed(failure: Failure) -> None:
        if not is_cancelled:
            connected.errback(failure)

    connected: Deferred[P] = Deferred(cancel)
    attempt.addCallbacks(connected.callback, failed)
    return connected
