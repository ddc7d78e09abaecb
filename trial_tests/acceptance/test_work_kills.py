"""The work stream loses nothing while servers and Redis are killed at random; `make chaos` does it for 20,000."""

from __future__ import annotations

import os
import secrets

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import end_shared
from trial_tests.support.work_chaos import Chaos


class KillTests(SynchronousTestCase):
    def test_nothing_is_lost(self) -> None:
        """Every message whose call returned has run. Repeat a failure with the seed that it prints, in SEED."""
        end_shared()
        seed = int(os.environ.get('SEED') or secrets.randbelow(1_000_000))
        report = Chaos(seed, messages=500, kills=2).run()
        self.assertEqual((report.lost, report.dead), ([], 0), str(report))
        self.assertGreaterEqual(report.accepted, 500)
        print(report)
