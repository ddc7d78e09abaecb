"""Which processes run a channel, and which lock they need for it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.channel_placement import (
    CONNECTOR,
    SERVER,
    LockScope,
    Placement,
    PlacementDecision,
    decide_placement,
    runs_channels,
)

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

    def test_kinds(self) -> None:
        """Servers run the kinds for servers. Connectors run all kinds for connectors unless their settings name some;
        servers run those that their settings name."""
        def runs(runs_in: str, node: str, selected: list[str] | None = None) -> bool:
            return runs_channels('one', runs_in, node, selected)

        self.assertEqual([runs(SERVER, SERVER), runs(SERVER, SERVER, ['two']), runs(SERVER, CONNECTOR, ['one'])],
                         [True, True, False])  # fmt: skip
        for node, by_default in ((CONNECTOR, True), (SERVER, False)):
            self.assertEqual([runs(CONNECTOR, node), runs(CONNECTOR, node, ['one']), runs(CONNECTOR, node, ['two'])],
                             [by_default, True, False])  # fmt: skip

    def test_named_nodes(self) -> None:
        """Named nodes restrict every placement; without names only NAMED_NODES runs nowhere."""
        for placement in Placement:
            self.assertEqual(decide_placement(placement, 'c', ['a', 'b']), NOT_HERE)
            self.assertTrue(decide_placement(placement, 'b', ['a', 'b']).is_candidate)
            self.assertEqual(decide_placement(placement, 'a').is_candidate, placement is not Placement.NAMED_NODES)
