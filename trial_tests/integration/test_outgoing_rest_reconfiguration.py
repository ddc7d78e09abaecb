"""Outgoing connections that change while they are used, and what a node sees of them."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from trial_tests.support.calling import CID, Asking, WithConnections, crm, started, stored
from zatotx import Inactive, NotFound, ServiceUnavailable, Timeout
from zatotx.connectors.ping_call import PingCall
from zatotx.interfaces.outgoing import IFetcher, IOutgoingKind, IServiceCall
from zatotx.plugins.http.test.upstream_servers import says, silent
from zatotx.schema.snapshot import Snapshot


class LiveTests(WithConnections):
    async def test_the_next_call_goes_by_it(self) -> None:
        """A service that holds a connection need not ask for it again."""
        before, after = self.listen(says(b'200 OK', b'before')), self.listen(says(b'200 OK', b'after'))
        node = self.node(stored(crm(before)))
        rest = node.namespaces['rest'](Asking())['CRM']
        self.assertEqual((await rest.get()).text, 'before')
        await node.apply(Snapshot(2, [stored(crm(after))]))
        self.assertEqual((await rest.get()).text, 'after')
        await self.until(lambda: not before.peers)

    async def test_calls_under_way(self) -> None:
        """End with what they began with, those that wait for a connection too; then its sockets are closed."""
        peer = self.listen(silent)
        node = self.node(stored(crm(peer, pool_size=1)))
        rest = node.namespaces['rest'](Asking())['CRM']
        first, second = started(rest.get()), started(rest.get())
        await self.until(lambda: peer.requests)
        await node.apply(Snapshot(2, [stored(crm(self.listen(says()), pool_size=1))]))
        answer = says(b'200 OK', b'old')
        answer(peer.peers[0], peer.requests[0])
        self.assertEqual((await first).text, 'old')
        await self.until(lambda: len(peer.requests) == 2)
        answer(peer.peers[0], peer.requests[1])
        self.assertEqual((await second).text, 'old')
        await self.until(lambda: not peer.peers)

    async def test_a_call_that_was_made_ready(self) -> None:
        """And is sent after the change, from a thread or by a service that awaits it later, ends as it began too; its
        socket is not kept."""
        peer = self.listen(says(b'200 OK', b'old'))
        node = self.node(stored(crm(peer)))
        rest = node.namespaces['rest'](Asking())['CRM']
        await rest.get()
        first, second = rest.get(), rest.get()
        await node.apply(Snapshot(2, [stored(crm(self.listen(says())))]))
        await self.until(lambda: not peer.peers)
        self.assertEqual([(await first).text, (await second).text], ['old', 'old'])
        await self.until(lambda: not peer.peers)

    async def test_what_did_not_change(self) -> None:
        """Stays as it is, with its open sockets."""
        peer = self.listen(says())
        objects = [stored(crm(peer)), stored(crm(peer, name='Other'))]
        node = self.node(*objects)
        rest = node.namespaces['rest'](Asking())['CRM']
        await rest.get()
        await node.apply(Snapshot(2, [objects[0], stored(crm(peer, name='Other', timeout=3))]))
        await rest.get()
        self.assertEqual(peer.accepted, 1)

    async def test_off_and_gone(self) -> None:
        """A connection that is switched off, deleted, or made, is so for the next call."""
        peer = self.listen(says())
        node = self.node(stored(crm(peer)))
        rest = node.namespaces['rest'](Asking())['CRM']
        await node.apply(Snapshot(2, [stored(crm(peer, is_active=False))]))
        self.assertRaises(Inactive, rest.get)
        await node.apply(Snapshot(3))
        self.assertRaises(NotFound, rest.get)
        await node.apply(Snapshot(4, [stored(crm(peer))]))
        self.assertEqual((await rest.get()).status_code, 200)

    async def test_figures(self) -> None:
        """Are kept over a change, and vanish with the connection."""
        peer = self.listen(says())
        node = self.node(stored(crm(peer)))
        rest = node.namespaces['rest'](Asking())['CRM']
        await rest.get()
        await node.apply(Snapshot(2, [stored(crm(peer, timeout=3))]))
        await rest.get()
        self.assertEqual((self.slots().calls, self.slots().errors), (2, 0))
        await node.apply(Snapshot(3))
        self.assertEqual(dict(self.meters.outgoing('rest').items()), {})

    async def test_the_end(self) -> None:
        """A node that stops lets go of all sockets, whether calls are under way or not; stopping takes no longer than a
        moment."""
        peer = self.listen(says())
        node = self.node(stored(crm(peer)))
        rest = node.namespaces['rest'](Asking())['CRM']
        await rest.get()
        await node.stop()
        await self.until(lambda: not peer.peers)
        fault = await self.fault(rest.get(), ServiceUnavailable)
        self.assertEqual(fault.msg, 'Outgoing connection CRM (rest) cannot be used: it is being closed')

    async def test_one_that_cannot_be_used(self) -> None:
        """A proxy that the environment names and that will not do: this connection says so, the others work."""
        self.patch(os, 'environ', {'https_proxy': 'socks5://x'})
        peer = self.listen(says())
        odd = crm(peer, host='https://crm.invalid', proxy='environment')
        node = self.node(stored(odd), stored(crm(peer, name='B')))
        door = node.namespaces['rest'](Asking())
        self.assertEqual((await door['B'].get()).status_code, 200)
        fault = await self.fault(door['CRM'].get(), ServiceUnavailable)
        self.assertEqual(fault.msg, 'Outgoing connection CRM (rest) cannot be used: its proxy does not lead to it')


class KindTests(WithConnections):
    async def test_interfaces(self) -> None:
        """It is what the node expects."""
        node = self.node()
        self.assertTrue(verifyObject(IOutgoingKind, node))
        self.assertTrue(verifyObject(IFetcher, node))
        self.assertTrue(verifyObject(IServiceCall, PingCall(CID)))
        self.assertTrue({'plain_http', 'rest'} <= set(node.namespaces))
        self.assertIn('outgoing_rest', node.pingable_types)

    async def test_pings(self) -> None:
        """For administrators: what was said, or why nothing was."""
        node = self.node(stored(crm(self.listen(says()))), stored(crm(self.listen(silent), name='Mute', timeout=0.2)),
                         stored(crm(1, name='Off', is_active=False)))
        self.assertIn('\nCode: 200\nResponse time: 0:00:0', await node.ping('outgoing_rest', 'CRM'))
        for name, kind in (('Mute', Timeout), ('Off', Inactive), ('Nope', NotFound)):
            failing: Deferred[Any] = node.ping('outgoing_rest', name)
            fault = await self.assertFailure(failing, kind)
            self.assertIn(name, fault.msg)
        failing = node.ping('channel_rest', 'CRM')
        await self.assertFailure(failing, NotFound)
