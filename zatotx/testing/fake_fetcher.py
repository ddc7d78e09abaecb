"""A test double of IFetcher with documents in memory, and the contract tests that every IFetcher must pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer
from zope.interface.verify import verifyObject

from zatotx.interfaces.outgoing import FetchedDocument, IFetcher
from zatotx.model.errors import ServiceUnavailable

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object


@implementer(IFetcher)
@define
class FakeFetcher:
    """An in-memory IFetcher. Fetching an unknown URL fails with ServiceUnavailable.

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


class FetcherContract(Case):
    """Contract tests of IFetcher, as a mixin for trial's TestCase. Subclasses provide the fetcher and publish
    documents."""

    def fetcher(self) -> IFetcher:
        """Return the fetcher under test."""
        raise NotImplementedError

    def published(self, body: bytes, *, status: int = 200, headers: Mapping[bytes, bytes] | None = None) -> str:
        """Publish a document and return its URL."""
        raise NotImplementedError

    def nowhere(self) -> str:
        """Return a URL on 127.0.0.1 that refuses connections."""
        raise NotImplementedError

    async def test_provides_interface(self) -> None:
        """The fetcher provides IFetcher."""
        self.assertTrue(verifyObject(IFetcher, self.fetcher()))

    async def test_a_document(self) -> None:
        """Fetching returns the status, the header fields by lower-case names, and the body."""
        url = self.published(b'{"keys": []}', headers={b'cache-control': b'max-age=60'})
        result = await self.fetcher().fetch(url, timeout=10.0, max_body=1000)
        self.assertEqual((result.status, result.body), (200, b'{"keys": []}'))
        self.assertEqual(result.headers[b'cache-control'], b'max-age=60')

    async def test_other_answers(self) -> None:
        """Error statuses are returned like any other; redirects are not followed."""
        for status in (404, 503):
            result = await self.fetcher().fetch(self.published(b'x', status=status), timeout=10.0, max_body=1000)
            self.assertEqual((result.status, result.body), (status, b'x'))
        url = self.published(b'', status=302, headers={b'location': self.published(b'x').encode()})
        self.assertEqual((await self.fetcher().fetch(url, timeout=10.0, max_body=1000)).status, 302)

    async def test_what_cannot_be_had(self) -> None:
        """A body above the limit, or a refused connection, raises ServiceUnavailable naming the host."""
        for url in (self.published(b'x' * 1001), self.nowhere()):
            with self.assertRaises(ServiceUnavailable) as caught:
                await self.fetcher().fetch(url, timeout=10.0, max_body=1000)
            self.assertIn('127.0.0.1', str(caught.exception))
        result = await self.fetcher().fetch(self.published(b'x' * 1000), timeout=10.0, max_body=1000)
        self.assertEqual(len(result.body), 1000)
