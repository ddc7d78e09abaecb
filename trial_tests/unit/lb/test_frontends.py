"""Tests of how configurations are applied to frontends and their listening sockets: as a whole, or not at all."""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from zatotx.lb.config.model import Configuration, Frontend, MainSettings
from zatotx.lb.frontend_interfaces import IFrontend, IFrontendUpdate
from zatotx.lb.frontends import Frontends, PreparedFrontends


@implementer(IFrontendUpdate)
@define
class PreparedDouble:
    """The new state of a frontend double."""

    frontend: FrontendDouble
    configuration: Configuration

    def commit(self) -> None:
        self.frontend.configuration = self.configuration


@implementer(IFrontend)
@define(eq=False)
class FrontendDouble:
    """A frontend without a data path. `error`: of its next preparation."""

    name: str
    connections: int = 0
    total_connections: int = 0
    rejected_connections: int = 0
    error: str = ''
    state: str = 'runs'
    configuration: Configuration | None = None
    idle: list[Deferred[None]] = field(factory=list)
    factory: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.factory = Factory.forProtocol(type(f'Protocol_{self.name}', (Protocol,), {}))

    def prepare(self, configuration: Configuration) -> PreparedDouble:
        if self.error:
            raise ValueError(self.error)
        return PreparedDouble(self, configuration)

    def server_down(self, backend: str, server: str) -> None:
        self.state = f'{backend}/{server} is down'

    def drain(self, idle_grace: float = 0.0) -> None:
        self.state = 'drains'

    def wait_idle(self) -> Deferred[None]:
        if not self.connections:
            return succeed(None)
        self.idle.append(Deferred())
        return self.idle[-1]

    def stop(self) -> None:
        self.state = 'stopped'


@define
class PortDouble:
    """A listening socket."""

    sockets: dict[str, Any]
    description: str

    def stopListening(self) -> None:
        del self.sockets[self.description]


class FrontendsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.made: dict[str, FrontendDouble] = {}
        self.sockets: dict[str, Any] = {}
        self.taken: set[str] = set()
        self.errors: dict[str, str] = {}
        self.frontends = Frontends(make=self.make, listen=self.listen)

    def make(self, name: str, mode: str) -> FrontendDouble:
        made = self.made[name] = FrontendDouble(name, error=self.errors.get(name, ''))
        return made

    def listen(self, description: str, factory: Any) -> Deferred[Any]:
        if description in self.taken:
            return fail(OSError(98, 'Address already in use'))
        self.sockets[description] = factory
        return succeed(PortDouble(self.sockets, description))

    def prepare(self, **listens: str) -> PreparedFrontends:
        """Prepare frontends that listen on these addresses, of 127.0.0.1."""
        frontends = {name: Frontend(listen=tuple(f'127.0.0.1:{port}' for port in ports.split()))
                     for name, ports in listens.items()}
        configuration = Configuration(main=MainSettings(cluster='c'), frontends=frontends)
        return self.successResultOf(Deferred.fromCoroutine(self.frontends.prepare(configuration)))

    def apply(self, **listens: str) -> None:
        plan = self.prepare(**listens)
        self.assertEqual(plan.errors, [])
        self.frontends.commit(plan)

    def ports(self) -> str:
        return ' '.join(sorted(description.split('=')[1].split(':')[0] for description in self.sockets))

    def served_by(self, port: int) -> str:
        protocol = self.sockets[f'tcp:port={port}:interface=127.0.0.1'].buildProtocol(None)
        return type(protocol).__name__.removeprefix('Protocol_')

    def test_sockets_follow_the_configuration(self) -> None:
        """Addresses that a configuration adds are opened, those it removes are closed, and others stay open; one that
        moves to another frontend is not closed in between."""
        self.apply(a='1 2', b='3')
        self.assertEqual((self.ports(), self.served_by(1), self.served_by(3)), ('1 2 3', 'a', 'b'))
        kept = self.sockets['tcp:port=2:interface=127.0.0.1']
        self.apply(a='1', b='2 4')
        self.assertEqual((self.ports(), self.served_by(2)), ('1 2 4', 'b'))
        self.assertIs(self.sockets['tcp:port=2:interface=127.0.0.1'], kept)
        self.assertEqual(list(self.frontends.by_name), ['a', 'b'])

    def test_all_or_nothing(self) -> None:
        """If one frontend cannot be prepared, or one address is taken, all errors are returned, and nothing has
        changed."""
        self.apply(a='1')
        before = self.made['a'].configuration
        self.errors['b'] = 'tls: no certificate\ntls: no key'
        plan = self.prepare(a='1 2', b='3')
        self.assertEqual(plan.errors, ['frontends.b: tls: no certificate', 'frontends.b: tls: no key'])
        self.errors.clear()
        self.taken.add('tcp:port=3:interface=127.0.0.1')
        plan = self.prepare(a='1 2', b='3')
        self.assertEqual(plan.errors, ["Cannot listen on 'tcp:port=3:interface=127.0.0.1': Address already in use."])
        self.assertEqual((self.ports(), self.made['b'].state, self.made['a'].state), ('1', 'stopped', 'runs'))
        self.assertIs(self.made['a'].configuration, before)

    def test_removed_frontends_drain(self) -> None:
        """A frontend that a configuration removes keeps its connections until they have ended."""
        self.apply(a='1', b='2')
        removed = self.made['b']
        removed.connections = 2
        self.apply(a='1')
        self.assertEqual((removed.state, self.frontends.connections), ('drains', 2))
        removed.connections = 0
        removed.idle[0].callback(None)
        self.assertEqual((removed.state, self.frontends.connections), ('stopped', 0))

    def test_end(self) -> None:
        """At the end all sockets are closed, all frontends drain, and what is left is aborted."""
        self.apply(a='1', b='2')
        self.made['a'].connections = 1
        self.successResultOf(Deferred.fromCoroutine(self.frontends.stop_listening()))
        drained = self.frontends.drain(5.0)
        self.assertNoResult(drained)
        self.assertEqual((self.ports(), self.made['b'].state), ('', 'drains'))
        self.made['a'].idle[0].callback(None)
        self.successResultOf(drained)
        self.frontends.stop()
        self.assertEqual({one.state for one in self.made.values()}, {'stopped'})
