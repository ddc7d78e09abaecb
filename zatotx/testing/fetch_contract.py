"""What every IFetcher keeps, the double like the real one: a mixin of tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from zope.interface.verify import verifyObject

from zatotx.interfaces.fetcher import IFetcher
from zatotx.model.errors import ServiceUnavailable

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object


class FetcherContract(Case):
    """A test case mixes it in beside trial's TestCase, and says how documents get to where they are."""

    def fetcher(self) -> IFetcher:
        """The one that is tested."""
        raise NotImplementedError

    def published(self, body: bytes, *, status: int = 200, headers: Mapping[bytes, bytes] | None = None) -> str:
        """Put a document somewhere: its URL."""
        raise NotImplementedError

    def nowhere(self) -> str:
        """A URL on 127.0.0.1 at which nobody is."""
        raise NotImplementedError

    async def test_provides_interface(self) -> None:
        """It is an IFetcher."""
        self.assertTrue(verifyObject(IFetcher, self.fetcher()))

    async def test_a_document(self) -> None:
        """Status, header fields by lower-case names, and the bytes that are there."""
        url = self.published(b'{"keys": []}', headers={b'cache-control': b'max-age=60'})
        found = await self.fetcher().fetch(url, timeout=10.0, most=1000)
        self.assertEqual((found.status, found.body), (200, b'{"keys": []}'))
        self.assertEqual(found.headers[b'cache-control'], b'max-age=60')

    async def test_other_answers(self) -> None:
        """A status that is no success is an answer too; a redirection is not followed."""
        for status in (404, 503):
            found = await self.fetcher().fetch(self.published(b'x', status=status), timeout=10.0, most=1000)
            self.assertEqual((found.status, found.body), (status, b'x'))
        url = self.published(b'', status=302, headers={b'location': self.published(b'x').encode()})
        self.assertEqual((await self.fetcher().fetch(url, timeout=10.0, most=1000)).status, 302)

    async def test_what_cannot_be_had(self) -> None:
        """More than was asked for, or nobody there: ServiceUnavailable, which names the host."""
        for url in (self.published(b'x' * 1001), self.nowhere()):
            with self.assertRaises(ServiceUnavailable) as caught:
                await self.fetcher().fetch(url, timeout=10.0, most=1000)
            self.assertIn('127.0.0.1', str(caught.exception))
        found = await self.fetcher().fetch(self.published(b'x' * 1000), timeout=10.0, most=1000)
        self.assertEqual(len(found.body), 1000)
