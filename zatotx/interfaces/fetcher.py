"""Documents of URLs, for parts of a node that need one now and then: keys of an issuer, tokens."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface


@frozen(kw_only=True)
class Fetched:
    """What was at a URL."""

    status: int
    headers: Mapping[bytes, bytes]  # by lower-case name
    body: bytes


class IFetcher(Interface):
    """A small HTTP client with a deadline and a limit."""

    def fetch(url: str, *, timeout: float, most: int) -> Deferred[Fetched]:
        """GET it, certificates verified, redirects not followed. `timeout`: seconds for all of it; `most`: bytes of the
        body. Fails with Timeout or ServiceUnavailable, each with a sentence that names the URL's host."""
