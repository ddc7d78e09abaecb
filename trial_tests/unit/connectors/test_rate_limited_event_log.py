"""The log of events that come often."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from zatotx.connectors.rate_limited_event_log import INTERVAL, RateLimitedEventLog

GIVEN_UP = 'a message was given up'


class EventLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.log = RateLimitedEventLog('Channel in (lines)', self.clock)

    def lines(self) -> list[str]:
        """The lines of ten seconds in which 1,000 messages are given up, and of a minute afterwards."""
        with capturedLogs() as events:
            for number in range(1000):
                self.log.add(GIVEN_UP, f'no {number}', cid=f'c{number}')
                self.clock.advance(0.01)
            self.clock.pump([1.0] * 60)
        return [str(formatEvent(event)) for event in events]

    def test_many(self) -> None:
        """The first event is logged at once, the others as one line at the end of the interval."""
        lines = self.lines()
        self.assertEqual(lines[0], 'Channel in (lines): a message was given up: no 0')
        self.assertEqual(lines[1:], ['Channel in (lines): a message was given up, 999 times in the last 10 s. '
                                     'The last time: no 999'])  # fmt: skip
        self.assertEqual(self.lines()[0], lines[0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_sorts(self) -> None:
        """Events of another sort have lines of their own. No timer runs while nothing waits to be logged."""
        with capturedLogs() as events:
            self.log.add(GIVEN_UP, 'one')
            self.log.add('a message is returned', 'two')
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.clock.advance(INTERVAL)
            self.log.add(GIVEN_UP, 'three')
        self.assertEqual(len(events), 3)

    def test_flush(self) -> None:
        """At the end of a channel everything is logged, and no timer is left."""
        with capturedLogs() as events:
            self.log.add(GIVEN_UP, 'one', cid='a')
            self.log.add(GIVEN_UP, 'two', cid='b')
            self.log.flush()
            self.log.flush()
        self.assertEqual([event['cid'] for event in events], ['a', 'b'])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unexpected(self) -> None:
        """An unexpected error has its traceback, the first time."""
        with capturedLogs() as events:
            for _ in range(2):
                self.log.add(GIVEN_UP, 'x', failure=Failure(OSError('x')))
            self.log.flush()
        self.assertEqual(['log_failure' in event for event in events], [True, False])
        self.flushLoggedErrors(OSError)
