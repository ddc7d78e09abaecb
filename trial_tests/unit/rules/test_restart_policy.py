"""What a supervisor makes of deaths: at once the first time, growing pauses, the end where starting again is no use.
And what it makes of silence."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.resilience.heartbeat import LONGEST_STEP, SilenceDetector
from zatotx.rules.resilience.restart_policy import LONGEST, LONGEST_REFUSED, MOST, WITHIN, RestartPolicy


def died(*moments: float) -> RestartPolicy:
    """Deaths at those moments."""
    deaths = RestartPolicy()
    for moment in moments:
        deaths = deaths.another(moment)
    return deaths


def longest() -> float:
    """The random number of the longest pauses."""
    return 0.999


class DeathsTests(SynchronousTestCase):
    def test_the_first_is_made_good_at_once(self) -> None:
        """One death: no pause, whatever chance says."""
        self.assertEqual(died(5.0).delay(longest), 0.0)

    def test_pauses_grow(self) -> None:
        """Each further death is followed by a longer pause, none by a long one: two workers that die at the same time
        are both back soon."""
        pauses = [died(*range(count)).delay(longest) for count in range(1, 8)]
        self.assertEqual(pauses, sorted(pauses))
        self.assertLess(pauses[1], 0.3)
        self.assertLessEqual(pauses[-1], LONGEST)

    def test_too_many(self) -> None:
        """5 deaths in 30 s are hopeless, 4 are not."""
        moments = [0.0, 7.0, 14.0, 21.0, 29.9]
        self.assertEqual((MOST, WITHIN), (5, 30.0))
        self.assertFalse(died(*moments[:4]).hopeless)
        self.assertTrue(died(*moments).hopeless)

    def test_old_deaths_are_forgotten(self) -> None:
        """A death of 30 s ago counts no more: one now and then never adds up, and is made good at once."""
        self.assertFalse(died(0.0, 8.0, 16.0, 24.0, 30.0).hopeless)
        slowly = died(*(31.0 * number for number in range(50)))
        self.assertFalse(slowly.hopeless)
        self.assertEqual(slowly.delay(longest), 0.0)

    def test_refusals(self) -> None:
        """A start that is refused while others serve is tried again after pauses of up to 10 s, for ever; a start that
        goes well ends that."""
        deaths = died(1.0)
        for _ in range(20):
            deaths = deaths.refusal()
        self.assertFalse(deaths.hopeless)
        self.assertAlmostEqual(deaths.delay(longest), LONGEST_REFUSED * longest())
        self.assertEqual(deaths.started().delay(longest), 0.0)


class SilenceTests(SynchronousTestCase):
    def test_time_adds_up(self) -> None:
        """From look to look, until it reaches the timeout."""
        silence = SilenceDetector()
        for _ in range(6):
            silence = silence.after(1.0)
            self.assertFalse(silence.is_hung(7.0))
        self.assertTrue(silence.after(1.0).is_hung(7.0))

    def test_a_watcher_that_stood_still(self) -> None:
        """An hour between two looks, or a clock that goes back, says little about the other process."""
        self.assertEqual(SilenceDetector(3.0).after(3600.0), SilenceDetector(3.0 + LONGEST_STEP))
        self.assertEqual(SilenceDetector(3.0).after(-1.0), SilenceDetector(3.0))
