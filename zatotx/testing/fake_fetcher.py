"""A double of IFetcher: what is at a URL is said beforehand, and whether answers come at once."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from zatotx.interfaces.fetcher import Fetched, IFetcher
from zatotx.model.errors import ServiceUnavailable


@implementer(IFetcher)
@define
class FakeFetcher:
    """`documents`: URL -> what is there, or the fault that fetching it ends in; at other URLs there is nobody. `asked`
    has the URLs in order. While `holding`, answers wait until `release`."""

    documents: dict[str, Fetched | Exception] = field(factory=dict)
    asked: list[str] = field(factory=list)
    holding: bool = False
    _held: list[tuple[str, int, Deferred[Fetched]]] = field(factory=list)

    def serve(self, url: str, body: bytes, *, status: int = 200, headers: Mapping[bytes, bytes] | None = None) -> None:
        """Put a document there."""
        self.documents[url] = Fetched(status=status, headers=headers or {}, body=body)

    def fetch(self, url: str, *, timeout: float, most: int) -> Deferred[Fetched]:
        self.asked.append(url)
        if self.holding:
            waiting: Deferred[Fetched] = Deferred()
            self._held.append((url, most, waiting))
            return waiting
        found = self._found(url, most)
        return fail(found) if isinstance(found, Exception) else succeed(found)

    def release(self) -> None:
        """Answer whoever waits, with what is there by now."""
        held, self._held = self._held, []
        for url, most, waiting in held:
            found = self._found(url, most)
            if isinstance(found, Exception):
                waiting.errback(found)
            else:
                waiting.callback(found)

    def _found(self, url: str, most: int) -> Fetched | Exception:
        found = self.documents.get(url, ServiceUnavailable(None, f'nobody is at {url}'))
        if isinstance(found, Fetched) and len(found.body) > most:
            return ServiceUnavailable(None, f'{url} answers with more than {most} bytes')
        return found
