"""zato.server.get-status, restart, drain, resume and edit: from one node to another, over their bus."""

from __future__ import annotations

from time import time
from typing import Any

import msgspec

from trial_tests.support.internals import InternalTestCase
from zatotx.model.message import Message, Principal
from zatotx.rules.security.roles import API
from zatotx.testing.memory_node import API_CHANNEL


class StaleRows:
    """The rows of the ODB as they were before another node registered."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    async def nodes(self) -> list[Any]:
        return self.rows


class NodeControlTests(InternalTestCase):
    """Requests go to the node `one`; what is controlled is `two`."""

    async def rows(self) -> dict[str, Any]:
        response = await self.one.call('zato.server.get-status', {})
        return {row['name']: row for row in response['zato_server_get_status_response']}

    async def two_id(self) -> int:
        return int((await self.rows())['two']['id'])

    async def actions(self) -> list[tuple[str, str]]:
        return [(row.action, row.name) for row in await self.one.odb.history(10, type='server')]

    async def test_status(self) -> None:
        """Each node says how it is, and one that is gone has no figures."""
        self.two.found = ['The disk is full']
        rows = await self.rows()
        self.assertEqual({name: row['state'] for name, row in rows.items()}, {'one': 'running', 'two': 'running'})
        self.assertEqual(rows['two']['status']['findings'], ['The disk is full'])
        await self.two.odb.mark_node_stopped(self.two.config.node_id)
        rows = await self.rows()
        self.assertEqual((rows['two']['state'], rows['two']['is_up']), ('down', False))

    async def test_one_that_does_not_answer(self) -> None:
        """A node that runs and does not answer is shown as such, within a second."""
        self.two.bus.subscriptions[:] = [
            each for each in self.two.bus.subscriptions if each[1] != self.two.control._requested
        ]
        started = time()
        self.assertEqual((await self.rows())['two']['state'], 'not answering')
        self.assertLess(time() - started, 20)

    async def test_drain_and_resume(self) -> None:
        """A drained node is shown as such until it is resumed; the history has both."""
        payload = {'id': await self.two_id()}
        await self.one.call('zato.server.drain', payload)
        self.assertEqual(((await self.rows())['two']['state'], self.one.is_drained), ('drained', False))
        await self.one.call('zato.server.resume', payload)
        self.assertEqual((await self.rows())['two']['state'], 'running')
        self.assertEqual(await self.actions(), [('resume', 'two'), ('drain', 'two')])

    async def test_restart(self) -> None:
        """A node restarts once; if it could not start again, it does not, and the response says why."""
        payload = {'id': await self.two_id()}
        await self.one.call('zato.server.restart', payload)
        self.assertEqual((self.one.restarter.restarts, self.two.restarter.restarts), (0, 1))
        self.two.restarter.error = 'port 1 is in use'
        reply = await self.one.reply('zato.server.restart', payload)
        self.assertEqual((reply.status, self.two.restarter.restarts), (409, 1))
        self.assertIn(b'two: port 1 is in use', reply.body)
        self.assertEqual(await self.actions(), [('restart', 'two')])

    async def test_rename(self) -> None:
        """A node gets another name everywhere and restarts; a name that is taken or malformed is refused."""
        node_id = await self.two_id()
        for name, status in (('one', 409), ('a b', 400), ('', 400)):
            reply = await self.one.reply('zato.server.edit', {'id': node_id, 'name': name})
            self.assertEqual((reply.status, self.two.restarter.names), (status, []), name)
        await self.one.call('zato.server.edit', {'id': node_id, 'name': 'three'})
        self.assertEqual((self.two.restarter.names, self.two.restarter.restarts), (['three'], 1))
        self.assertEqual(sorted(row.name for row in await self.one.odb.nodes()), ['one', 'three'])
        self.assertEqual(await self.actions(), [('rename', 'two to three')])

    async def test_roles(self) -> None:
        """The public API may not restart a server by renaming it."""
        body = msgspec.json.encode({'id': await self.two_id(), 'name': 'three'})
        message = Message('c', API_CHANNEL, 'zato.server.edit', {}, body, self.one.reactor.seconds() + 30)
        message.principal = Principal('pubapi', 'pubapi', 'basic_auth', roles=frozenset({API}))
        reply = await self.one.pipeline.serve(message)
        self.assertEqual((reply.status, self.two.restarter.restarts), (403, 0))

    async def test_rename_that_fails(self) -> None:
        """If the ODB refuses the name, the settings have the old one again and nothing restarts."""
        await self.one.odb.register_node('Three', '127.0.0.1', 17019, 9)
        stale: Any = StaleRows([row for row in await self.one.odb.nodes() if row.name != 'Three'])
        self.one.control.odb = stale
        reply = await self.one.reply('zato.server.edit', {'id': await self.two_id(), 'name': 'Three'})
        self.assertEqual((reply.status, self.two.restarter.names, self.two.restarter.restarts), (409, [], 0))
