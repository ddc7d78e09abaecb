"""`self.out`: connections by kind and name, for services on the reactor and in threads."""

from __future__ import annotations

from typing import Any

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
        run: Any = type('Run', (), {'message': calls.inbound(), 'entry': calls.entries[0], 'invoker': calls.invoker})
        self.assertTrue(verifyObject(IServiceCall, OutgoingCall(run)))
        self.assertTrue(verifyObject(IOutgoingConnections, ConnectionNamespaces()))
