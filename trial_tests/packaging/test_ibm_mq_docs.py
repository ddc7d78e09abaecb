"""The how-to "IBM MQ", followed to the letter with the loopback queue manager."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.mqi_loopback import LoopbackQueueManager
from trial_tests.support.walkthrough import follow

ROOT = Path(__file__).resolve().parents[2]


class IbmMqPageTests(SynchronousTestCase):
    def test_ibm_mq(self) -> None:
        """From the objects to services that receive and send, their test, and a message that fails."""
        qmgr = LoopbackQueueManager()
        self.addCleanup(qmgr.close)
        qmgr.start()
        qmgr.define('DEV.QUEUE.1', backout_threshold=0, backout_queue='')
        page = (ROOT / 'docs' / 'ibm-mq.md').read_text('utf-8')
        follow(self, page.replace('port: 1414', f'port: {qmgr.port}'), is_whole=True)
