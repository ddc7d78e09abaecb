"""Decides when a supervisor restarts a process that died, and when it gives up."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from zatotx.rules.resilience.backoff import backoff_delay

MAX_DEATHS, DEATH_WINDOW = 5, 30.0  # this many deaths within this many seconds cannot be cured by restarting
MAX_DELAY = 1.0  # maximum seconds until a dead process is restarted
MAX_START_FAILURE_DELAY = 10.0  # maximum seconds until a process that reported why it cannot start is started again


@frozen
class RestartPolicy:
    """The recent deaths, as times in seconds on one clock, oldest first; and the number of consecutive start failures
    reported while other processes were serving."""

    deaths: tuple[float, ...] = ()
    start_failures: int = 0

    def record_death(self, now: float) -> RestartPolicy:
        """Records a death at `now`; forgets those older than WITHIN seconds."""
        recent = tuple(moment for moment in self.deaths if now - moment < DEATH_WINDOW)
        return RestartPolicy((*recent, now), self.start_failures)

    def record_start_failure(self) -> RestartPolicy:
        """Records that a process reported why it cannot start (e.g. ODB unavailable, invalid settings), which is not a
        crash."""
        return RestartPolicy(self.deaths, self.start_failures + 1)

    def record_start(self) -> RestartPolicy:
        """Records that a process is ready: the reported start failures are over."""
        return RestartPolicy(self.deaths, 0)

    @property
    def gives_up(self) -> bool:
        """Whether restarting has failed too often."""
        return len(self.deaths) >= MAX_DEATHS

    def delay(self, random: Callable[[], float]) -> float:
        """Returns the seconds until the next start: the first is immediate, later ones follow increasing pauses of up
        to LONGEST, or LONGEST_REFUSED after reported start failures. `random` returns numbers in [0, 1)."""
        if self.start_failures:
            return backoff_delay(self.start_failures - 1, random, base=1.0, cap=MAX_START_FAILURE_DELAY)
        if len(self.deaths) <= 1:
            return 0.0
        return backoff_delay(len(self.deaths) - 2, random, base=0.25, cap=MAX_DELAY)


__all__ = ['DEATH_WINDOW', 'MAX_DEATHS', 'MAX_DELAY', 'MAX_START_FAILURE_DELAY', 'RestartPolicy']
