"""Interface for fetching small documents by URL, such as the key set of a token issuer."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface


@frozen(kw_only=True)
class FetchedDocument:
    """The response to a fetched URL."""

    status: int
    headers: Mapping[bytes, bytes]  # by lower-case name
    body: bytes


class IFetcher(Interface):
    """A small HTTP client with a deadline and a size limit."""

    def fetch(url: str, *, timeout: float, max_body: int) -> Deferred[FetchedDocument]:
        """Sends a GET request; verifies certificates, does not follow redirects. `timeout`: seconds for the whole call;
        `max_body`: maximum body size in bytes. Fails with Timeout or ServiceUnavailable, each naming the URL's host."""
