"""A double of IFetcher with documents in memory."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from zatotx.interfaces.fetcher import FetchedDocument, IFetcher
from zatotx.model.errors import ServiceUnavailable


@implementer(IFetcher)
@define
class FakeFetcher:
    """An IFetcher in memory; fetching other URLs fails with ServiceUnavailable.

    `documents` maps a URL to a document or to the exception that fetching it raises. `fetched_urls` lists the fetched
    URLs in order. While `holding` is true, results are withheld until `release`.
    """

    documents: dict[str, FetchedDocument | Exception] = field(factory=dict)
    fetched_urls: list[str] = field(factory=list)
    holding: bool = False
    _waiting: list[tuple[str, int, Deferred[FetchedDocument]]] = field(factory=list)

    def serve(self, url: str, body: bytes, *, status: int = 200, headers: Mapping[bytes, bytes] | None = None) -> None:
        """Add a document."""
        self.documents[url] = FetchedDocument(status=status, headers=headers or {}, body=body)

    def fetch(self, url: str, *, timeout: float, max_body: int) -> Deferred[FetchedDocument]:
        self.fetched_urls.append(url)
        if self.holding:
            waiting: Deferred[FetchedDocument] = Deferred()
            self._waiting.append((url, max_body, waiting))
            return waiting
        result = self._result_for(url, max_body)
        return fail(result) if isinstance(result, Exception) else succeed(result)

    def release(self) -> None:
        """Deliver the withheld results, with the documents that exist now."""
        waiting_fetches, self._waiting = self._waiting, []
        for url, max_body, waiting in waiting_fetches:
            result = self._result_for(url, max_body)
            if isinstance(result, Exception):
                waiting.errback(result)
            else:
                waiting.callback(result)

    def _result_for(self, url: str, max_body: int) -> FetchedDocument | Exception:
        result = self.documents.get(url, ServiceUnavailable(None, f'nobody is at {url}'))
        if isinstance(result, FetchedDocument) and len(result.body) > max_body:
            return ServiceUnavailable(None, f'{url} answers with more than {max_body} bytes')
        return result
