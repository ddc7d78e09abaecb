"""Opens TCP connections with Twisted endpoints, and supports cancellation while connecting."""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

P = TypeVar('P', bound=Protocol)


def connect_protocol(endpoint: IStreamClientEndpoint, protocol: P) -> Deferred[P]:
    """Connect a protocol to an endpoint. Fails with ConnectError and DNSLookupError. If the Deferred is canceled, it
    fails with CancelledError. Twisted's endpoints would fail with ConnectError or DNSLookupError, which look like an
    error of the peer."""
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
