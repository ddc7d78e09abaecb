"""Tests of active health checks: when servers are probed, and what follows."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.reactor import as_reactor
from zatotx.interfaces.load_balancer import BalancingKey, ServerUseOutcome
from zatotx.lb.backends.backend_registry import BackendRegistry
from zatotx.lb.backends.health_checker import HealthChecker
from zatotx.lb.backends.health_probe import ProbeTarget
from zatotx.lb.config.model import Backend, Configuration, HealthCheck, MainSettings, Server, ServerTls

SERVERS = {'s1': Server(host='127.0.0.1', port=8001), 's2': Server(host='127.0.0.1', port=8002)}


class CheckerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.running: list[tuple[float, ProbeTarget, Deferred[str]]] = []
        self.registry = BackendRegistry(clock=self.clock)
        self.checker = HealthChecker(
            reactor=as_reactor(self.clock), directory=Path('/nonexistent'), run=self.run_probe, random=lambda: 0.0,
            find_backend=lambda name: self.registry.find(name).config,
        )  # fmt: skip
        self.registry.on_server_added, self.registry.on_server_removed = self.checker.add, self.checker.remove

    def run_probe(self, target: ProbeTarget) -> Deferred[str]:
        result: Deferred[str] = Deferred()
        self.running.append((self.clock.seconds(), target, result))
        return result

    def apply(self, backend: Backend) -> None:
        self.registry.apply(Configuration(main=MainSettings(cluster='c'), backends={'b': backend}))
        self.checker.configuration_changed()

    def finish(self, *reasons: str) -> None:
        """End the probes that run, in their order; '' = good."""
        running, self.running = self.running, []
        for reason, (_, _, result) in zip(reasons, running, strict=True):
            result.callback(reason)

    def states(self) -> list[str]:
        return [status.state for status in self.registry.statuses()]

    def test_probes_at_intervals(self) -> None:
        """Each server is probed at once, and a second after the start of the last probe, however long that took."""
        self.apply(Backend(servers=SERVERS))
        self.clock.advance(0)
        self.assertEqual([target.port for _, target, _ in self.running], [8001, 8002])
        self.clock.advance(0.4)
        self.finish('', '')
        self.clock.advance(0.5)
        self.assertEqual(self.running, [])
        self.clock.advance(0.1)
        self.assertEqual([started for started, _, _ in self.running], [1.0, 1.0])

    def test_goes_down_and_comes_back(self) -> None:
        """A failed probe is repeated at once, and the second takes the server out; two good ones bring it back."""
        self.apply(Backend(servers={'s1': SERVERS['s1']}))
        self.clock.advance(0)
        self.finish('')
        self.clock.advance(1)
        self.finish('it refuses connections')
        self.assertEqual(self.states(), ['UP'])
        self.clock.advance(0)
        self.finish('it refuses connections')
        self.assertEqual((self.states(), self.registry.statuses()[0].reason), (['DOWN'], 'it refuses connections'))
        for state in ('DOWN', 'UP'):
            self.clock.advance(1)
            self.finish('')
            self.assertEqual(self.states(), [state])

    def test_servers_that_start(self) -> None:
        """A server that is not up yet is probed five times a second at first, and the first good probe makes it up."""
        self.apply(Backend(servers={'s1': SERVERS['s1']}))
        self.clock.advance(0)
        self.finish('it refuses connections')
        self.assertEqual((self.states(), self.registry.has_servers()), (['DOWN'], False))
        self.clock.advance(0.2)
        self.finish('')
        self.assertEqual((self.states(), self.registry.has_servers()), (['UP'], True))

    def test_ejected_server_is_probed_at_once(self) -> None:
        """When traffic ejects a server, it is probed at once, and one good probe brings it back."""
        self.apply(Backend(servers=SERVERS))
        self.clock.advance(0)
        self.finish('', '')
        for _ in range(3):
            slot = self.registry.find('b').acquire_now(BalancingKey('', {}, {}), ('s2',))
            assert slot is not None
            slot.release(ServerUseOutcome.RESET)
        self.assertEqual(self.states(), ['DOWN', 'UP'])
        self.clock.advance(0)
        self.assertEqual([target.port for _, target, _ in self.running], [8001])
        self.finish('')
        self.assertEqual(self.states(), ['UP', 'UP'])

    def test_changes(self) -> None:
        """A changed check probes at once, an unchanged one keeps its time, a removed server is not probed any more."""
        self.apply(Backend(servers=SERVERS))
        self.clock.advance(0)
        self.finish('', '')
        self.apply(Backend(servers=SERVERS))
        self.clock.advance(0)
        self.assertEqual(self.running, [])
        self.apply(Backend(servers={'s1': SERVERS['s1']}, check=HealthCheck(path='/other', port=99)))
        self.clock.advance(0)
        [(_, target, result)] = self.running
        self.assertEqual((target.check.path, target.port), ('/other', 99))
        self.apply(Backend())
        self.assertTrue(result.called)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_probed(self) -> None:
        """Servers in maintenance, and those of backends without a check, are not probed and count as up or in
        maintenance; a server whose TLS files are missing is down."""
        tls = Server(host='127.0.0.1', port=1, tls=ServerTls(ca='missing.pem'))
        self.registry.apply(Configuration(main=MainSettings(cluster='c'), backends={
            'b': Backend(servers={'s1': Server(host='127.0.0.1', port=1, state='maint'), 's2': tls}),
            'c': Backend(servers=SERVERS, check=HealthCheck(type='none')),
        }))  # fmt: skip
        self.clock.advance(0)
        self.assertEqual((self.running, self.states()), ([], ['MAINT', 'DOWN', 'UP', 'UP']))
        self.assertEqual(self.registry.statuses()[1].reason,
                         '/nonexistent/missing.pem cannot be read: No such file or directory')
        self.checker.stop()
        self.registry.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
