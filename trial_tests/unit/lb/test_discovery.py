"""Tests of servers that join and leave by themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.reactor import as_reactor
from zatotx.lb.backends.backend_registry import BackendRegistry
from zatotx.lb.config.model import Backend, Configuration, Discovery, MainSettings, Server, ServerTls
from zatotx.lb.discovery.member_list import ClusterMember, add_members, parse_member_list
from zatotx.lb.discovery.poller import DiscoveryPoller, read_members
from zatotx.lb.discovery.server_list_request import QueriedServer, ServerListRequestFailed

DISCOVERY = Discovery(username='lb', password='secret', interval=5)
SEED = {'seed': Server(host='10.0.0.1', port=17010)}


def listed(*rows: dict[str, Any]) -> bytes:
    full = [{'id': 1, 'name': 's', 'host': 'machine', 'bind_host': '10.0.0.9', 'bind_port': 17010,
             'up_status': 'running', **row} for row in rows]
    return json.dumps({'zato_env': {}, 'zato_server_get_list_response': full}).encode()


class MemberListTests(SynchronousTestCase):
    def test_parse(self) -> None:
        """Servers that run are members, at the address where they listen, or that of their machine."""
        body = listed({'name': 'b', 'bind_host': '0.0.0.0', 'host': 'two.example'}, {'name': 'a'},
                      {'name': 'stopped', 'up_status': 'cleaned'})
        self.assertEqual(
            parse_member_list(body), [ClusterMember('a', '10.0.0.9', 17010), ClusterMember('b', 'two.example', 17010)]
        )

    def test_nonsense(self) -> None:
        """Anything else is an error, so that the last list stays in use."""
        for body in (b'', b'{}', b'[]', b'<html>', listed({'bind_port': None}), listed({'name': ''}),
                     listed({'host': '', 'bind_host': ''}), listed({'bind_port': 'x'})):
            self.assertIn('not a list of servers', str(self.assertRaises(ValueError, parse_member_list, body)))

    def test_servers_in_the_file_stay(self) -> None:
        """Members are added to the backends that discover servers; one with the name or the address of a server in the
        file is that server."""
        tls = ServerTls(verify=False)
        configuration = Configuration(main=MainSettings(cluster='c'), backends={
            'a': Backend(servers=SEED, discovery=Discovery(username='u', password='p', tls=tls, max_connections=3)),
            'b': Backend(servers=SEED),
        })  # fmt: skip
        members = [
            ClusterMember('seed', 'x', 1),
            ClusterMember('same', '10.0.0.1', 17010),
            ClusterMember('new', '10.0.0.2', 17010),
        ]
        extended = add_members(configuration, {'a': members, 'b': members, 'gone': members})
        self.assertEqual(extended.backends['a'].servers,
                         {**SEED, 'new': Server(host='10.0.0.2', port=17010, tls=tls, max_connections=3)})
        self.assertEqual(extended.backends['b'].servers, SEED)


class PollerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.directory = Path(self.mktemp())
        (self.directory / 'work').mkdir(parents=True)
        self.registry = BackendRegistry(clock=self.clock)
        self.asked: list[str] = []
        self.responses: dict[str, bytes] = {}
        self.changes = 0
        self.poller = DiscoveryPoller(
            reactor=as_reactor(self.clock), directory=self.directory, registry=self.registry, request=self.request,
            on_change=self.changed,
        )  # fmt: skip
        self.poller.start()

    def request(self, server: QueriedServer, settings: Discovery) -> Deferred[bytes]:
        self.assertEqual(settings, DISCOVERY)
        self.asked.append(server.name)
        if server.name in self.responses:
            return succeed(self.responses[server.name])
        return fail(ServerListRequestFailed('it refuses connections'))

    def changed(self) -> None:
        self.changes += 1
        self.apply()

    def apply(self, discovery: Discovery | None = DISCOVERY) -> None:
        configuration = Configuration(main=MainSettings(cluster='c'), backends={
            'b': Backend(servers=SEED, discovery=discovery)})  # fmt: skip
        self.registry.apply(add_members(configuration, read_members(self.directory)))
        self.poller.configuration_changed()

    def servers(self) -> list[str]:
        return sorted(self.registry.find('b').servers)

    def test_join_and_leave(self) -> None:
        """A server that appears in the list joins, and one that disappears leaves, at the next interval; a list that
        has not changed changes nothing."""
        self.responses['seed'] = listed({'name': 'two', 'bind_host': '10.0.0.2'})
        self.apply()
        self.clock.advance(0)
        self.assertEqual((self.servers(), self.changes), (['seed', 'two'], 1))
        self.clock.advance(5)
        self.assertEqual((self.servers(), self.changes), (['seed', 'two'], 1))
        self.responses['seed'] = listed({'name': 'three', 'bind_host': '10.0.0.3'})
        self.clock.advance(5)
        self.assertEqual((self.servers(), self.changes), (['seed', 'three'], 2))

    def test_the_last_list_survives(self) -> None:
        """When the server in the file is gone, those that were found are asked; when all are, the last list stays in
        use, also for the next start."""
        self.responses['seed'] = listed({'name': 'two', 'bind_host': '10.0.0.2'})
        self.apply()
        self.clock.advance(0)
        self.responses = {'two': listed({'name': 'two', 'bind_host': '10.0.0.2'},
                                        {'name': 'three', 'bind_host': '10.0.0.3'})}
        self.clock.advance(5)
        self.assertEqual((self.servers(), self.asked[-2:]), (['seed', 'three', 'two'], ['seed', 'two']))
        self.responses = {'seed': b'<html>'}
        self.clock.advance(5)
        self.assertEqual(self.servers(), ['seed', 'three', 'two'])
        self.assertEqual([member.name for member in read_members(self.directory)['b']], ['three', 'two'])
        (self.directory / 'work' / 'discovered.json').write_text('{')
        self.assertEqual(read_members(self.directory), {})

    def test_ends(self) -> None:
        """A configuration without discovery ends the requests, and so does the end of the process."""
        self.apply()
        self.clock.advance(0)
        self.apply(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.apply()
        self.poller.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
