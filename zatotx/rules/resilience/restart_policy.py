"""What a supervisor does about the death of one of the processes it looks after."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from zatotx.rules.resilience.backoff import next_delay

MOST, WITHIN = 5, 30.0  # so many deaths in so many seconds are a fault that starting again does not mend
LONGEST = 1.0  # seconds until a dead process is started again
LONGEST_REFUSED = 10.0  # seconds until one that said why it cannot start is tried again


@frozen
class RestartPolicy:
    """The deaths that still count, as moments in seconds of one clock, oldest first; and how often in a row a start was
    refused while others served."""

    moments: tuple[float, ...] = ()
    refused: int = 0

    def another(self, now: float) -> RestartPolicy:
        """A process died at `now`. Those of more than WITHIN seconds ago are forgotten."""
        recent = tuple(moment for moment in self.moments if now - moment < WITHIN)
        return RestartPolicy((*recent, now), self.refused)

    def refusal(self) -> RestartPolicy:
        """A process said why it cannot start (its ODB is away, its settings are wrong): nothing crashed."""
        return RestartPolicy(self.moments, self.refused + 1)

    def started(self) -> RestartPolicy:
        """A process is ready: what kept others from starting is over."""
        return RestartPolicy(self.moments, 0)

    @property
    def hopeless(self) -> bool:
        """Whether starting again has not helped often enough."""
        return len(self.moments) >= MOST

    def delay(self, random: Callable[[], float]) -> float:
        """Seconds until the next start: the first comes at once, later ones after growing pauses of at most LONGEST,
        and of LONGEST_REFUSED where starts are refused. `random` gives numbers in [0, 1)."""
        if self.refused:
            return next_delay(self.refused - 1, random, base=1.0, cap=LONGEST_REFUSED)
        if len(self.moments) <= 1:
            return 0.0
        return next_delay(len(self.moments) - 2, random, base=0.25, cap=LONGEST)


__all__ = ['LONGEST', 'LONGEST_REFUSED', 'MOST', 'WITHIN', 'RestartPolicy']
