"""A missing `await` is reported with its line and the call it belongs before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.invoking import Calls
from zatotx import Service
from zatotx.model.message import Reply
from zatotx.pipeline.codecs import CodecRegistry
from zatotx.pipeline.error_replies import ErrorReplies
from zatotx.pipeline.pipeline import Pipeline
from zatotx.service.missing_await import MissingAwait, display_path
from zatotx.service.outgoing import ConnectionNamespaces
from zatotx.testing.pipeline_doubles import AllowAllAuthentication, CallCountingStats


def line_of(mark: str) -> int:
    """Return the line of this file that ends with a comment of that name."""
    lines = Path(__file__).read_text('utf-8').splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(f'# {mark}'))


class Greeting(msgspec.Struct):
    text: str


class Connections:
    """`self.out.greetings['A'].greet()`."""

    def __init__(self, call: Any) -> None:
        self.call = call

    def __getitem__(self, name: str) -> Connections:
        return self

    async def _greet(self) -> str:
        return 'hello'

    def greet(self) -> Any:
        return self.call.run(self._greet)


class Other(Service):
    name = 'await.other'

    async def handle(self) -> None:
        self.response.payload = 'x'


class Whole(Service):
    name = 'await.whole'

    async def handle(self) -> None:
        good = await self.invoke('await.other')
        self.response.payload = self.invoke('await.other', good)  # whole


class Within(Service):
    name = 'await.within'

    async def fetch(self) -> str:
        return 'x'

    async def handle(self) -> None:
        got = self.fetch()  # within
        self.response.payload = {'a': [await self.fetch(), got]}


class Typed(Service):
    name = 'await.typed'
    output = Greeting

    async def handle(self) -> None:
        self.response.payload = self.invoke('await.other')  # typed


class Named(Service):
    name = 'await.named'
    output = 'text'

    async def handle(self) -> None:
        self.response.payload.text = self.out.greetings['A'].greet()  # named


class Used(Service):
    name = 'await.used'

    async def handle(self) -> None:
        got = self.invoke('await.other')
        try:
            self.response.payload = got['a']  # used
        finally:
            got.close()


class Deferreds(Service):
    name = 'await.deferred'

    async def handle(self) -> None:
        later: Deferred[int] = succeed(1)
        self.response.payload = {'a': later}


class Other500(Service):
    name = 'await.none'

    async def handle(self) -> None:
        self.response.payload = object()


class Node:
    outgoing = ConnectionNamespaces({'greetings': Connections})


class ForgottenAwaitTests(SynchronousTestCase):
    def error(self, service: type, **channel: Any) -> BaseException:
        """Return the error logged for the author of the service; the caller gets a 500 without details."""
        calls = Calls(service, Other, node=Node())
        for entry in calls.entries:
            object.__setattr__(entry, 'stats', CallCountingStats())
        store: Any = type('Store', (), {'current': calls.services})
        pipeline = Pipeline(authentication=AllowAllAuthentication(), store=store, invoker=calls.invoker,
                            codecs=CodecRegistry(), error_replies=ErrorReplies(), offload=maybeDeferred)  # fmt: skip
        inbound = calls.http(body=b'<a/>' if channel else b'{}', **channel)
        reply: Reply = self.successResultOf(Deferred.fromCoroutine(pipeline.serve(inbound)))
        logged = self.flushLoggedErrors()
        self.assertEqual((reply.status, len(logged)), (500, 1))
        self.assertNotIn(b'.py', reply.body)
        assert reply.error is not None
        return logged[0].value  # type: ignore[no-any-return]

    def test_where_it_is_missing(self) -> None:
        """The awaitable may be the whole response, nested in it, or in typed or declared output; from self.invoke, a
        method of the service or a connection."""
        for service, mark, call in (
            (Whole, 'whole', 'self.invoke(…)'),
            (Within, 'within', 'self.fetch(…)'),
            (Typed, 'typed', 'self.invoke(…)'),
            (Named, 'named', "self.out.greetings['A'].greet(…)"),
        ):
            error = self.error(service)
            self.assertIsInstance(error, MissingAwait, mark)
            said = str(error).partition('/')[2] or str(error)
            where = f'test_forgotten_await.py:{line_of(mark)}'
            self.assertEqual(said, f"{where}: 'await' is missing before {call}: the answer has a coroutine in it")
            self.assertEqual(self.flushWarnings(), [])

    def test_in_xml(self) -> None:
        """It is reported in XML responses too."""
        self.assertIn(f":{line_of('named')}: 'await' is missing before", str(self.error(Named, data_format='xml')))

    def test_where_code_stumbles(self) -> None:
        """An error from using a coroutine as a value is reported with its line."""
        said = str(self.error(Used))
        self.assertIn(f"{line_of('used')}: 'coroutine' object is not subscriptable: 'await' is missing", said)

    def test_deferreds(self) -> None:
        """A Deferred in a response is reported, without its call."""
        self.assertIn("'await' is missing in Deferreds: its answer has a Deferred in it", str(self.error(Deferreds)))

    def test_other_answers_that_cannot_be_written(self) -> None:
        """Other serialization errors are reported unchanged."""
        self.assertEqual(str(self.error(Other500)), 'A value of type object has no form in JSON')

    def test_files(self) -> None:
        """Files are named as their author knows them."""
        self.assertEqual(display_path(f'/env/server1/work/deployed/{"a" * 64}/crm/util.py'), 'crm/util.py')
