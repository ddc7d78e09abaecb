"""A load balancer's control without a load balancer, and what every control promises."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from zatotx.interfaces.load_balancer import IBalancerControl, RenamedServer, ServerState, ServerStatus

CONFIG = """\
# The load balancer of the tests.
[main]
cluster = "qs"  # its cluster

[frontends.front]
listen = ["127.0.0.1:11223"]
default_backend = "plain"

[backends.plain]
algorithm = "round_robin"

# The first one.
[backends.plain.servers.server1]
host = "127.0.0.1"  # here
port = 17010

[backends.plain.servers.server2]
host = "127.0.0.1"
port = 17011

[agent]
listen = "127.0.0.1:20151"
"""
STATES: Mapping[str, ServerState] = {'ready': 'UP', 'drain': 'DRAIN', 'maint': 'MAINT'}


@implementer(IBalancerControl)
class FakeBalancerControl:
    """Holds the text of a configuration and the states of its servers. `pending`: while set, `apply` fires with it;
    `read_error`: while set, the text cannot be read."""

    def __init__(self, source: str = CONFIG) -> None:
        self.source = source
        self.states: dict[tuple[str, str], ServerState] = {}
        self.errors: list[str] = []
        self.applied: list[str] = []
        self.pending: Deferred[None] | None = None
        self.read_error: Exception | None = None
        self.apply_calls = 0

    def config_source(self) -> str:
        if self.read_error is not None:
            raise self.read_error
        return self.source

    def validate(self, source: str) -> list[str]:
        try:
            document = tomllib.loads(source)
        except tomllib.TOMLDecodeError as error:
            return [f'lb.toml is not valid TOML: {error}']
        return [
            f'backends.{backend}.servers.{name}.{key}: missing'
            for backend, name, server in _servers(document) for key in ('host', 'port') if key not in server
        ]  # fmt: skip

    def apply(self, source: str, renamed: RenamedServer | None = None) -> Deferred[list[str]]:
        self.apply_calls += 1
        mistakes = self.validate(source)
        if mistakes:
            return succeed(mistakes)
        waiting: Deferred[Any] = self.pending or succeed(None)

        def apply(_: object) -> list[str]:
            self.source = source
            if renamed is not None:
                states = {key: state for key, state in self.states.items() if key != (renamed.backend, renamed.new)}
                if (state := states.pop((renamed.backend, renamed.old), None)) is not None:
                    states[renamed.backend, renamed.new] = state
                self.states = states
            self.applied.append(source)
            return []

        return waiting.addCallback(apply)

    def servers(self) -> Sequence[ServerStatus]:
        return [
            ServerStatus(
                backend=backend, name=name, address=f'{server["host"]}:{server["port"]}',
                state=self.states.get((backend, name), STATES[server.get('state', 'ready')]), reason='', weight=1,
                is_backup=False, current_sessions=0, queued=0, total_requests=7, errors=0, last_change=1.5,
            )
            for backend, name, server in _servers(tomllib.loads(self.source))
        ]  # fmt: skip

    def set_state(self, backend: str, name: str, state: Literal['ready', 'drain', 'maint']) -> Deferred[None]:
        if (backend, name) not in {(server.backend, server.name) for server in self.servers()}:
            return fail(LookupError(name))
        self.states[backend, name] = STATES[state]
        return succeed(None)

    def info(self) -> Mapping[str, str | int | float]:
        return {'version': '1.2', 'pid': 42, 'uptime': 93784.2, 'workers': 1, 'current_sessions': 3,
                'total_sessions': 99}  # fmt: skip

    def recent_errors(self) -> Sequence[str]:
        return self.errors


def _servers(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (backend, name, server)
        for backend, values in document.get('backends', {}).items()
        for name, server in values.get('servers', {}).items()
    ]


class BalancerControlContract(TestCase):
    """Mixin. Each control has the servers server1 and server2 in its backend `plain`, both UP, and no others."""

    def make_control(self) -> Any:
        """A control with this configuration, running."""
        raise NotImplementedError

    def setUp(self) -> None:
        self.control = self.make_control()

    def state(self, name: str) -> str:
        (server,) = (server for server in self.control.servers() if server.name == name)
        return str(server.state)

    def test_interface(self) -> None:
        """The control provides IBalancerControl."""
        self.assertTrue(verifyObject(IBalancerControl, self.control))

    def test_servers(self) -> None:
        """All servers are there with their backend, address and state."""
        self.assertEqual([(server.backend, server.name, server.state) for server in self.control.servers()],
                         [('plain', 'server1', 'UP'), ('plain', 'server2', 'UP')])  # fmt: skip
        self.assertRegex(self.control.servers()[0].address, r'^127\.0\.0\.1:\d+$')

    def test_valid(self) -> None:
        """Its own configuration is valid; validating changes nothing."""
        source = self.control.config_source()
        self.assertEqual(self.control.validate(source), [])
        self.assertTrue(self.control.validate('['))
        self.assertEqual(self.control.config_source(), source)

    async def test_apply(self) -> None:
        """An applied text is the configuration, comments included, and its servers are there."""
        source = self.control.config_source() + (
            '\n# added\n[backends.plain.servers.server3]\nhost = "127.0.0.1"\nport = 1\nstate = "maint"\n'
        )
        self.assertEqual(await self.control.apply(source), [])
        self.assertEqual(self.control.config_source(), source)
        self.assertEqual(self.state('server3'), 'MAINT')

    async def test_apply_mistakes(self) -> None:
        """A text with mistakes changes nothing; all mistakes are returned."""
        source = self.control.config_source()
        mistakes = await self.control.apply(
            source + '\n[backends.plain.servers.a]\nport = 1\n[backends.plain.servers.b]\nhost = "x"\n'
        )
        self.assertGreaterEqual(len(mistakes), 2)
        self.assertEqual(self.control.config_source(), source)
        self.assertEqual(len(self.control.servers()), 2)

    async def test_states(self) -> None:
        """A server is drained, put into maintenance and made ready; the others stay as they are."""
        for state, expected in (('drain', 'DRAIN'), ('maint', 'MAINT'), ('ready', 'UP')):
            await self.control.set_state('plain', 'server1', state)
            self.assertEqual((self.state('server1'), self.state('server2')), (expected, 'UP'))

    async def test_rename(self) -> None:
        """A server that was put into maintenance stays so under its new name, and another server that gets the former
        name does not inherit it."""
        await self.control.set_state('plain', 'server1', 'maint')
        source = self.control.config_source()
        renamed = source.replace('servers.server1]', 'servers.primary]')
        self.assertNotEqual(renamed, source)
        self.assertEqual(await self.control.apply(renamed, RenamedServer('plain', 'server1', 'primary')), [])
        self.assertEqual((self.state('primary'), self.state('server2')), ('MAINT', 'UP'))
        again = renamed + '\n[backends.plain.servers.server1]\nhost = "127.0.0.1"\nport = 1\nstate = "drain"\n'
        self.assertEqual(await self.control.apply(again), [])
        self.assertEqual((self.state('primary'), self.state('server1')), ('MAINT', 'DRAIN'))

    async def test_unknown_server(self) -> None:
        """The state of a server that is not there cannot be set."""
        with self.assertRaises(LookupError):
            await self.control.set_state('plain', 'server9', 'drain')
        with self.assertRaises(LookupError):
            await self.control.set_state('other', 'server1', 'drain')

    def test_info(self) -> None:
        """Facts about the process have the names that the agent uses."""
        self.assertLessEqual({'version', 'pid', 'uptime', 'workers', 'current_sessions', 'total_sessions'},
                             self.control.info().keys())  # fmt: skip
