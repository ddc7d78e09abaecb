"""Tests of what the processes of a load balancer share: states, loads, ejections, statistics, sockets."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zatotx.interfaces.load_balancer import BalancingKey, NoServerAvailableError, ServerUseOutcome
from zatotx.lb.backends.backend_registry import BackendRegistry
from zatotx.lb.backends.backend_server import BackendServer
from zatotx.lb.config.model import Backend, Configuration, MainSettings, Server
from zatotx.lb.statistics.statistics_snapshot import BackendFigures, StatisticsSnapshot, TrafficFigures
from zatotx.lb.workers.server_state_sharing import POLL_INTERVAL, ParentServers, SharedServers, WorkerServers
from zatotx.lb.workers.statistics_files import ParentStatistics, WorkerStatistics
from zatotx.processes.workers.shared_counters import create_counters_file
from zatotx.rules.balancing.server_health import ServerHealth
from zatotx.rules.balancing.shared_server_state import SharedServerState, decode_server_state, encode_server_state

KEY = BalancingKey('', {}, {})
BACKEND = Backend(servers={'s1': Server(host='127.0.0.1', port=1, max_connections=2)})


class StateCodeTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        """Every state survives encoding, the counter of probes wraps around, and 0 means that nobody wrote."""
        for is_down in (False, True):
            for admin in ('ready', 'drain', 'maint'):
                for probes in (0, 1, 2**20 - 1):
                    state = SharedServerState(is_down, admin, probes)
                    self.assertEqual(decode_server_state(encode_server_state(state)), state)
                    self.assertLess(encode_server_state(state), 2**31)
        self.assertEqual(
            decode_server_state(encode_server_state(SharedServerState(False, 'ready', 2**20 + 3))), (False, 'ready', 3)
        )
        self.assertIsNone(decode_server_state(0))


class SharedServerTests(SynchronousTestCase):
    """A parent and two workers, in one process."""

    def setUp(self) -> None:
        self.clock = Clock()
        work = Path(self.mktemp())
        work.mkdir()
        self.counters = create_counters_file(work, 2)
        self.parent = self.process(ParentServers, self.counters.slots - 1)
        self.workers = [self.process(WorkerServers, slot) for slot in (0, 1)]
        self.probes = 0
        self.server(self.parent).on_ejection = self.probe
        self.wait()

    def process(self, kind: type[SharedServers], slot: int) -> BackendRegistry:
        shared = kind(clock=self.clock, find_row=lambda name: self.counters.row(name, slot))
        registry = BackendRegistry(clock=self.clock, shares_load=True, update_states=shared.poll_all)
        registry.on_server_added, registry.on_server_removed = shared.add, shared.remove
        registry.apply(Configuration(main=MainSettings(cluster='c'), backends={'b': BACKEND}))
        shared.start()
        self.addCleanup(shared.stop)
        return registry

    def server(self, registry: BackendRegistry) -> BackendServer:
        return registry.find_server('b', 's1')

    def wait(self) -> None:
        """Until every process has seen what the others wrote, and the parent what they did then."""
        self.clock.pump([POLL_INTERVAL] * 4)

    def probe(self) -> None:
        self.probes += 1

    def states(self) -> list[str]:
        return [self.server(registry).state for registry in (self.parent, *self.workers)]

    def test_states(self) -> None:
        """What the parent finds out, or is told by the agent, reaches all workers, and one that starts later."""
        self.server(self.parent).set_health(ServerHealth(is_down=True, has_been_probed=True, reason='refused'))
        self.wait()
        self.assertEqual(self.states(), ['DOWN'] * 3)
        self.server(self.parent).set_health(ServerHealth(has_been_probed=True))
        self.server(self.parent).set_admin_state('drain')
        self.wait()
        self.assertEqual(self.states(), ['DRAIN'] * 3)
        self.assertEqual(self.server(self.process(WorkerServers, 2)).state, 'DRAIN')

    def test_old_states_reject_no_request(self) -> None:
        """A worker looks at what the others have written before it rejects a request."""
        server, backend = self.server(self.parent), self.workers[0].find('b')
        server.set_health(ServerHealth(is_down=True, has_been_probed=True))
        self.wait()
        self.assertRaises(NoServerAvailableError, backend.acquire_now, KEY)
        server.set_health(ServerHealth(has_been_probed=True))
        self.parent.update_states()  # which publishes the state
        self.assertEqual(self.server(self.workers[0]).state, 'DOWN')
        self.assertIsNotNone(backend.acquire_now(KEY))

    def test_ejection(self) -> None:
        """A server that one worker ejects is out for all, and is probed; one good probe brings it back for all."""
        backend = self.workers[0].find('b')
        for _ in range(3):
            slot = backend.acquire_now(KEY)
            assert slot is not None
            slot.release(ServerUseOutcome.RESET)
        self.wait()
        self.assertEqual((self.states(), self.probes), (['DOWN'] * 3, 1))
        server = self.server(self.parent)
        server.good_probes += 1
        server.set_health(server.health.record_good_probe(server.policy))
        self.wait()
        self.assertEqual(self.states(), ['UP'] * 3)

    def test_limit(self) -> None:
        """The limit of a server counts the requests of all workers; those of a worker that died do not count."""
        one, two = (worker.find('b') for worker in self.workers)
        held = one.acquire_now(KEY)
        assert held is not None
        self.assertIsNotNone(two.acquire_now(KEY))
        self.assertIsNone(one.acquire_now(KEY))
        waiting = one.acquire(KEY)
        self.counters.clear(1)  # as the parent does
        self.wait()
        self.successResultOf(waiting)

    def test_removed(self) -> None:
        """A server that a configuration removes leaves nothing behind for one of its name."""
        self.server(self.parent).set_health(ServerHealth(is_down=True, has_been_probed=True))
        self.wait()
        for registry in (self.parent, *self.workers):
            registry.apply(Configuration(main=MainSettings(cluster='c'), backends={'b': Backend()}))
        for registry in (self.parent, *self.workers):
            registry.apply(Configuration(main=MainSettings(cluster='c'), backends={'b': BACKEND}))
        self.wait()
        self.assertEqual(self.states(), ['UP'] * 3)


class StatisticsFileTests(SynchronousTestCase):
    def test_sums(self) -> None:
        """The parent adds the figures of its workers, and keeps the counters of those that have ended; any worker reads
        the sums."""
        work, clock = Path(self.mktemp()), Clock()
        work.mkdir()

        def figures(requests: int) -> StatisticsSnapshot:
            return StatisticsSnapshot(
                backends={'b': BackendFigures(queued=1, traffic=TrafficFigures(requests=requests))}
            )

        workers = [WorkerStatistics(clock=clock, work=work, slot=slot, read_own=partial(figures, 10 + slot))
                   for slot in (0, 1)]
        slots = [0, 1]
        parent = ParentStatistics(work=work, read_own=StatisticsSnapshot, slots=lambda: slots)
        parent.reset()
        for worker in workers:
            worker.start()
        total = parent.read()
        self.assertEqual((total.workers, total.backends['b'].traffic.requests, total.backends['b'].queued), (2, 21, 2))
        workers[0].stop()
        slots.remove(0)
        parent.worker_ended(0)
        total = parent.read()
        self.assertEqual((total.workers, total.backends['b'].traffic.requests, total.backends['b'].queued), (1, 21, 1))
        parent.publish(total)
        self.assertEqual(workers[1].read_sums().backends['b'].traffic.requests, 21)
        workers[1].stop()
        self.assertEqual(clock.getDelayedCalls(), [])
