"""`self.out`: connections by kind and name, for services on the reactor and in threads."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from trial_tests.support.invoking import CID, Calls, outcome_of
from zatotx import NotFound, Service
from zatotx.interfaces.outgoing import IOutgoingConnections, IServiceCall
from zatotx.service.outgoing import ConnectionNamespaces, OutgoingCall


class Node:
    """A node with some connections."""

    def __init__(self, **kinds: Any) -> None:
        self.outgoing = ConnectionNamespaces(kinds)


class Greeter:
    """A connection of these tests' kind."""

    def __init__(self, call: IServiceCall) -> None:
        self.call = call

    def __getitem__(self, name: str) -> Greeter:
        return self

    async def _greet(self) -> str:
        return f'{self.call.service} {self.call.cid} {self.call.deadline:g}'

    def greet(self) -> Any:
        return self.call.run(self._greet)


class Greets(Service):
    name = 'out.greets'

    async def handle(self) -> None:
        self.response.payload = [await self.out.hello['A'].greet(), self.out is self.outgoing]


class Asks(Service):
    name = 'out.asks'

    async def handle(self) -> None:
        self.out.rest['CRM']


class AsksZatosWay(Service):
    name = 'out.asks.zato'

    async def handle(self) -> None:
        self.outgoing.amqp.send('message', 'Audit', 'exchange', 'key')


class OutgoingTests(SynchronousTestCase):
    def call(self, service: type, node: object) -> Any:
        calls = Calls(service, node=node)
        return outcome_of(calls.start(calls.inbound())).value

    def test_a_kind_gives_its_connections(self) -> None:
        """A connection knows the call that it serves; `out` and `outgoing` are the same."""
        self.assertEqual(self.call(Greets, Node(hello=Greeter)), [f'out.greets {CID} 60', True])

    def test_no_such_connection(self) -> None:
        """NotFound distinguishes missing kinds from missing connections, and says what exists, what is similar or
        what to install, in the new and in Zato's form."""
        pika = Node(hello=Greeter)
        pika.outgoing.disabled = {'amqp': 'AMQP needs pika: pip install zatotx[amqp]'}
        for node, why in ((Node(), ': there are none at all'), (Node(hello=Greeter), ': there are hello'), (None, ''),
                          (Node(rests=Greeter), ", did you mean 'rests'?"), (pika, ': there are hello')):
            refused = self.assertRaises(NotFound, self.call, Asks, node)
            told = f"self.out.rest['CRM']: connections of kind rest are not installed here{why}"
            self.assertEqual((refused.cid, refused.msg), (CID, told))
        refused = self.assertRaises(NotFound, self.call, AsksZatosWay, pika)
        self.assertEqual(refused.msg, "self.out.amqp['Audit']: connections of kind amqp are not installed here: AMQP "
                                      'needs pika: pip install zatotx[amqp]')  # fmt: skip

    def test_interfaces(self) -> None:
        """The objects provide their interfaces."""
        calls = Calls(Greets)
        run: Any = type('Run', (), {'message': calls.inbound(), 'entry': calls.entries[0], 'invoker': calls.invoker,
                                    'parent': None, 'thread_call': None})  # fmt: skip
        self.assertTrue(verifyObject(IServiceCall, OutgoingCall(run)))
        self.assertTrue(verifyObject(IOutgoingConnections, ConnectionNamespaces()))

    def test_requests(self) -> None:
        """All services that invoke each other have the identity of one request; another request has its own."""
        seen: list[object] = []

        class Identity:
            def __init__(self, call: IServiceCall) -> None:
                seen.append(call.request)

        class Inner(Service):
            name = 'out.inner'

            async def handle(self) -> None:
                self.out.hello  # noqa: B018 - creates the call

        class Outer(Service):
            name = 'out.outer'

            async def handle(self) -> None:
                self.out.hello  # noqa: B018
                await self.invoke('out.inner')

        calls = Calls(Outer, Inner, node=Node(hello=Identity))
        for _ in range(2):
            outcome_of(calls.start(calls.inbound()))
        self.assertIs(seen[0], seen[1])
        self.assertIs(seen[2], seen[3])
        self.assertIsNot(seen[0], seen[2])

    def test_the_end_of_a_request(self) -> None:
        """A Deferred is cancelled with the request of a service that runs in a thread, at once if that is over."""
        calls = Calls(Greets)
        thread_call: Any = type('ThreadCall', (), {'cancelled': False, 'awaited': set()})()
        run: Any = type('Run', (), {'message': calls.inbound(), 'entry': calls.entries[0], 'invoker': calls.invoker,
                                    'parent': None, 'thread_call': thread_call})  # fmt: skip
        call = OutgoingCall(run)
        ended, waiting, late = Deferred[None](), Deferred[None](), Deferred[None]()
        call.cancel_with_request(ended)
        call.cancel_with_request(waiting)
        ended.callback(None)
        self.assertEqual(thread_call.awaited, {waiting})
        thread_call.cancelled = True
        call.cancel_with_request(late)
        self.failureResultOf(late, CancelledError)
        run.thread_call = None
        call.cancel_with_request(Deferred())
