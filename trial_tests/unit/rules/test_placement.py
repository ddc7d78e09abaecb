"""Which processes run a channel, and which lock they need for it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.placement import LockScope, Placement, PlacementDecision, decide_placement

NOT_HERE = PlacementDecision(is_candidate=False)


class PlacementTests(SynchronousTestCase):
    def test_locks(self) -> None:
        """Every placement has the lock that makes it true."""
        locks = {placement: decide_placement(placement, 'a', ['a']).lock for placement in Placement}
        self.assertEqual(locks, {
            Placement.EVERY_WORKER: LockScope.NONE,
            Placement.ONE_WORKER_PER_NODE: LockScope.NODE,
            Placement.EVERY_NODE: LockScope.NODE,
            Placement.ONE_NODE_OF_CLUSTER: LockScope.CLUSTER,
            Placement.NAMED_NODES: LockScope.NODE,
        })  # fmt: skip

    def test_named_nodes(self) -> None:
        """Named nodes restrict every placement; without names only NAMED_NODES runs nowhere."""
        for placement in Placement:
            self.assertEqual(decide_placement(placement, 'c', ['a', 'b']), NOT_HERE)
            self.assertTrue(decide_placement(placement, 'b', ['a', 'b']).is_candidate)
            self.assertEqual(decide_placement(placement, 'a').is_candidate, placement is not Placement.NAMED_NODES)
