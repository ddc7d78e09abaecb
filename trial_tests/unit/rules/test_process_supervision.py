"""Tests of the restart policy and of the detection of hung processes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.resilience.process_supervision import (
    DEATH_WINDOW,
    INTERVAL,
    MAX_DEATHS,
    MAX_DELAY,
    MAX_START_FAILURE_DELAY,
    MAX_STEP,
    TIMEOUT,
    HangDetector,
    RestartPolicy,
)


def died(*moments: float) -> RestartPolicy:
    """Returns the policy after deaths at these times."""
    deaths = RestartPolicy()
    for moment in moments:
        deaths = deaths.record_death(moment)
    return deaths


def longest() -> float:
    """A random function that yields the longest delays."""
    return 0.999


class DeathsTests(SynchronousTestCase):
    def test_the_first_is_made_good_at_once(self) -> None:
        """The first death causes no delay, whatever the random number."""
        self.assertEqual(died(5.0).delay(longest), 0.0)

    def test_pauses_grow(self) -> None:
        """Further deaths cause increasing but short delays: the start of a worker takes half a second, and another one
        is to serve within a second."""
        pauses = [died(*range(count)).delay(longest) for count in range(1, 8)]
        self.assertEqual(pauses, [longest() * delay for delay in (0.0, 0.05, 0.1, 0.2, 0.2, 0.2, 0.2)])
        self.assertEqual(MAX_DELAY, 0.2)

    def test_too_many(self) -> None:
        """The policy gives up after 5 deaths within 30 s, not after 4."""
        moments = [0.0, 7.0, 14.0, 21.0, 29.9]
        self.assertEqual((MAX_DEATHS, DEATH_WINDOW), (5, 30.0))
        self.assertFalse(died(*moments[:4]).gives_up)
        self.assertTrue(died(*moments).gives_up)

    def test_old_deaths_are_forgotten(self) -> None:
        """Deaths older than 30 s do not count: occasional deaths never add up, and are followed by an immediate
        restart."""
        self.assertFalse(died(0.0, 8.0, 16.0, 24.0, 30.0).gives_up)
        slowly = died(*(31.0 * number for number in range(50)))
        self.assertFalse(slowly.gives_up)
        self.assertEqual(slowly.delay(longest), 0.0)

    def test_refusals(self) -> None:
        """Reported start failures are retried indefinitely with delays of up to 10 s; a successful start resets
        them."""
        deaths, delays = died(1.0, 2.0), []
        for _ in range(20):
            deaths = deaths.record_start_failure()
            delays.append(deaths.delay(lambda: 1.0))
        self.assertFalse(deaths.gives_up)
        self.assertEqual(delays, [1.0, 2.0, 4.0, 8.0, *[MAX_START_FAILURE_DELAY] * 16])
        self.assertEqual(MAX_START_FAILURE_DELAY, 10.0)
        self.assertEqual(deaths.record_death(3.0).start_failures, 20)
        self.assertEqual(deaths.record_start(), died(1.0, 2.0))


class SilenceTests(SynchronousTestCase):
    def test_time_adds_up(self) -> None:
        """Time without a heartbeat adds up from check to check until it reaches the timeout."""
        silence = HangDetector()
        for _ in range(6):
            silence = silence.record_silence(1.0)
            self.assertFalse(silence.is_hung(7.0))
        self.assertTrue(silence.record_silence(1.0).is_hung(7.0))

    def test_a_watcher_that_stood_still(self) -> None:
        """An hour between two checks, or a clock that goes back, adds little. Killing and replacing a process fit into
        ten seconds."""
        self.assertEqual((INTERVAL, MAX_STEP, TIMEOUT), (1.0, 2.0, 7.0))
        self.assertEqual(HangDetector(3.0).record_silence(3600.0), HangDetector(3.0 + MAX_STEP))
        self.assertEqual(HangDetector(3.0).record_silence(-1.0), HangDetector(3.0))
