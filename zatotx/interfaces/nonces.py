"""What may be used once, cluster-wide."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from zope.interface import Interface


class INonces(Interface):
    """Remembers, for the whole cluster, what was used."""

    def use(name: str, ttl: float) -> Deferred[bool]:
        """True for one caller of the cluster, whoever is first; False for every other one within the `ttl` seconds of
        the first. May be cancelled: it counts as used all the same. Fails with Timeout or ServiceUnavailable where that
        cannot be said now: then it may count as used."""
