"""The load that heartbeats carry."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.interfaces.config import NodeLoad
from zatotx.node.load_meter import LoadMeter


class LoadMeterTests(SynchronousTestCase):
    """Measurements on a clock of the test."""

    def test_share_of_a_core(self) -> None:
        """The CPU time since the last measurement is a share of the time; measurements in quick succession keep it."""
        clock = [100.0, 5.0]
        meter = LoadMeter(lambda: 3, now=lambda: clock[0], cpu_time=lambda: clock[1])
        clock[:] = [102.0, 5.5]
        self.assertEqual(meter(), NodeLoad(cpu=0.25, in_flight=3))
        clock[:] = [102.1, 5.6]
        self.assertEqual(meter().cpu, 0.25)
        clock[:] = [104.0, 5.5]
        self.assertEqual(meter().cpu, 0.0)
