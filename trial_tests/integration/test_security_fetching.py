"""Who fetches the keys of issuers: the double of the tests keeps what the HTTP client keeps, on a real socket."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from trial_tests.support.issuer import IssuerServer
from trial_tests.support.reactor import reactor
from zatotx.connectors.kind_registry import find_kinds
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.outgoing import IFetcher
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.testing.fake_fetcher import FakeFetcher, FetcherContract


class PlannedFetcherTests(FetcherContract, TestCase):
    def setUp(self) -> None:
        self.planned = FakeFetcher()

    def fetcher(self) -> IFetcher:
        return self.planned

    def published(self, body: bytes, *, status: int = 200, headers: Mapping[bytes, bytes] | None = None) -> str:
        url = f'http://127.0.0.1/{len(self.planned.documents)}'
        self.planned.serve(url, body, status=status, headers=headers)
        return url

    def nowhere(self) -> str:
        return 'http://127.0.0.1/nowhere'


class KindTests(FetcherContract, TestCase):
    """What the node of a server gives its checks: the kind that fetches, as it is found."""

    def setUp(self) -> None:
        self.issuer = IssuerServer()
        self.addCleanup(deferToThread, self.issuer.close)
        (http,) = [found for found in find_kinds() if found.kind.name == 'http']
        self.kind = http.load(http.kind.outgoing)(
            OutgoingContext(reactor=reactor, settings={}, run_in_thread=deferToThread)
        )
        self.addCleanup(self.stop)

    async def stop(self) -> None:
        await self.kind.stop()
        while self.kind.builder.environment.call_environment.timeout_sweeper.running:
            await deferLater(reactor, 0.01)

    def fetcher(self) -> IFetcher:
        fetcher: IFetcher = self.kind
        return fetcher

    def published(self, body: bytes, *, status: int = 200, headers: Mapping[bytes, bytes] | None = None) -> str:
        fields = {name.decode(): value.decode() for name, value in (headers or {}).items()}
        return self.issuer.publish(body, path=f'/{len(body)}-{status}', status=status, **fields)

    def nowhere(self) -> str:
        with socket.socket() as unused:
            unused.bind(('127.0.0.1', 0))
            return f'http://127.0.0.1:{unused.getsockname()[1]}/'

    async def test_frozen(self) -> None:
        """One that does not answer costs its timeout, and is named."""
        url = self.issuer.publish(b'x')
        self.issuer.freeze()
        fetching: Deferred[object] = self.kind.fetch(url, timeout=0.3, max_body=1000)
        with self.assertRaises((Timeout, ServiceUnavailable)) as caught:
            await fetching
        self.assertIn('127.0.0.1', str(caught.exception))
