"""Tasks that run where their placement says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zatotx.interfaces.connector_kind import IPlacedTask
from zatotx.node.placed_tasks import LEASE_TTL, RETRY, TaskPlacer
from zatotx.processes.workers.singleton_task import RETRY_INTERVAL
from zatotx.rules.channel_placement import Placement
from zatotx.testing.memory_redis_components import MemoryLeaseBackend, make_memory_lease_store


class PlacedTasksTests(SynchronousTestCase):
    """`running`: the processes in which the task runs now."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.desk = MemoryLeaseBackend(self.clock)
        self.work = Path(self.mktemp())
        self.running: list[str] = []

    def placed(self, process: str, placement: Placement, *, node: str = 'a', nodes: Sequence[str] = ()) -> IPlacedTask:
        placer = TaskPlacer(node=node, work=self.work / node, has_workers=True, clock=self.clock,
                            leases=make_memory_lease_store(self.clock, self.desk))  # fmt: skip

        def end() -> None:
            self.running[:] = [name for name in self.running if name != process]

        task = placer('channel_lines.in', placement, nodes, lambda: self.running.append(process), end)
        self.addCleanup(task.stop)
        task.start()
        return task

    def advance(self, seconds: float) -> None:
        self.clock.pump([0.25] * int(seconds * 4))

    def test_every_worker(self) -> None:
        """No process waits for another."""
        one, other = (self.placed(name, Placement.EVERY_WORKER) for name in ('one', 'other'))
        self.assertEqual(self.running, ['one', 'other'])
        self.successResultOf(one.stop())
        self.assertEqual(self.running, ['other'])
        self.successResultOf(other.stop())

    def test_one_worker_of_each_node(self) -> None:
        """One process of each node runs the task; another one of that node takes over when it stops."""
        first = self.placed('one', Placement.ONE_WORKER_PER_NODE)
        self.placed('two', Placement.ONE_WORKER_PER_NODE)
        self.placed('three', Placement.ONE_WORKER_PER_NODE, node='b')
        self.advance(2 * RETRY_INTERVAL)
        self.assertEqual(self.running, ['one', 'three'])
        self.successResultOf(first.stop())
        self.advance(2 * RETRY_INTERVAL)
        self.assertEqual(self.running, ['three', 'two'])

    def test_one_node_of_the_cluster(self) -> None:
        """One process of the cluster runs the task; another node takes over when it stops, or when its lease runs
        out."""
        first = self.placed('one', Placement.ONE_NODE_OF_CLUSTER)
        self.placed('two', Placement.ONE_NODE_OF_CLUSTER, node='b')
        self.advance(2 * LEASE_TTL)
        self.assertEqual(self.running, ['one'])
        self.successResultOf(first.stop())
        self.advance(2 * RETRY)
        self.assertEqual(self.running, ['two'])
        self.desk.held = {name: ('somebody', token, end + 60) for name, (_, token, end) in self.desk.held.items()}
        self.advance(LEASE_TTL)
        self.assertEqual(self.running, [])
        self.desk.held.clear()
        self.advance(2 * RETRY)
        self.assertEqual(self.running, ['two'])

    def test_stopped_while_it_waits(self) -> None:
        """A task that waits for its turn stops at once, and leaves no timer behind."""
        self.placed('one', Placement.ONE_NODE_OF_CLUSTER)
        waiting = self.placed('two', Placement.ONE_NODE_OF_CLUSTER, node='b')
        self.successResultOf(waiting.stop())
        self.successResultOf(waiting.stop())
        self.advance(2 * RETRY)
        self.assertEqual(self.running, ['one'])

    def test_named_nodes(self) -> None:
        """Only the nodes that are named run the task."""
        self.placed('one', Placement.NAMED_NODES, nodes=['b'])
        self.placed('two', Placement.NAMED_NODES, node='b', nodes=['b'])
        self.placed('three', Placement.EVERY_WORKER, nodes=['b'])
        self.assertEqual(self.running, ['two'])
