"""Interface of the cluster-wide replay protection."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from zope.interface import Interface


class INonceStore(Interface):
    """Remembers nonces for the whole cluster."""

    def consume(name: str, ttl: float) -> Deferred[bool]:
        """Fires with True for the first caller in the cluster, with False for all others within `ttl` seconds. Fails
        with Timeout or ServiceUnavailable if the store is unavailable. After cancellation or failure the nonce may
        count as used."""
