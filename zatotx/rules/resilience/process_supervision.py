"""Decisions of a process supervisor: when a process counts as hung, when it is restarted, and when the supervisor stops
restarting it. Pure functions."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from zatotx.rules.resilience.outgoing_retry import backoff_delay

NODE_TIMEOUT = 6.0  # seconds without a heartbeat after which a node of the cluster counts as dead
MAX_DEATHS, DEATH_WINDOW = 5, 30.0  # this many deaths within this many seconds cannot be cured by restarting
MIN_DELAY, MAX_DELAY = 0.05, 0.2  # maximum seconds until a process is restarted, after the second and further deaths
MAX_START_FAILURE_DELAY = 10.0  # maximum seconds until a process that reported why it cannot start is started again


@frozen
class RestartPolicy:
    """Decides when to restart dead processes. The policy contains the times of recent deaths in seconds on one clock,
    oldest first, and the number of consecutive start failures that were reported while other processes were serving."""

    deaths: tuple[float, ...] = ()
    start_failures: int = 0

    def record_death(self, now: float) -> RestartPolicy:
        """Record a death at `now`; forget those older than DEATH_WINDOW seconds."""
        recent = tuple(moment for moment in self.deaths if now - moment < DEATH_WINDOW)
        return RestartPolicy((*recent, now), self.start_failures)

    def record_start_failure(self) -> RestartPolicy:
        """Record that a process reported why it cannot start (e.g. ODB unavailable, invalid settings), which is not a
        crash."""
        return RestartPolicy(self.deaths, self.start_failures + 1)

    def record_start(self) -> RestartPolicy:
        """Record that a process is ready: the reported start failures are over."""
        return RestartPolicy(self.deaths, 0)

    @property
    def gives_up(self) -> bool:
        """Whether restarting has failed too often."""
        return len(self.deaths) >= MAX_DEATHS

    def delay(self, random: Callable[[], float]) -> float:
        """Return the seconds until the next start: the first is immediate, later ones follow increasing pauses of up to
        MAX_DELAY, or MAX_START_FAILURE_DELAY after reported start failures. A process starts in about half a second,
        and another one is to serve within a second, also after several deaths; a process that always dies is given up
        after MAX_DEATHS. `random` returns numbers in [0, 1)."""
        if self.start_failures:
            return backoff_delay(self.start_failures - 1, random, base=1.0, cap=MAX_START_FAILURE_DELAY)
        if len(self.deaths) <= 1:
            return 0.0
        return backoff_delay(len(self.deaths) - 2, random, base=MIN_DELAY, cap=MAX_DELAY)


# Decides when a process that sends heartbeats is considered hung. Pure: the time is a parameter.
#
# A monitored process sends a heartbeat every INTERVAL seconds while its reactor runs. The monitor checks every
# INTERVAL seconds and adds up the time without a heartbeat. It counts only time during which it ran itself: if the
# machine sleeps, or all processes are stopped, it resumes with the others. So one check adds LONGEST_STEP at most,
# and live processes have the rest of the timeout to send a heartbeat.

INTERVAL = 1.0  # seconds between two heartbeats, and between two checks
MAX_STEP = 2 * INTERVAL  # maximum number of seconds added by one check
TIMEOUT = 7.0  # default seconds without a heartbeat: killing and replacing the process fit into ten
START_TIMEOUT = 120.0  # default seconds that a process may take to start, during which it sends no heartbeats


@frozen
class HangDetector:
    """Measures how long a process has sent no heartbeat, in seconds on the monitor's clock."""

    silent_seconds: float = 0.0

    def record_silence(self, elapsed: float) -> HangDetector:
        """Return the state after a check without a heartbeat, `elapsed` seconds after the previous check."""
        return HangDetector(self.silent_seconds + min(max(elapsed, 0.0), MAX_STEP))

    def is_hung(self, timeout: float) -> bool:
        """Return whether the timeout has been reached."""
        return self.silent_seconds >= timeout
