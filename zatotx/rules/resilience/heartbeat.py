"""Decides when a process that sends heartbeats is considered hung. Pure: the time is a parameter.

A monitored process sends a heartbeat every INTERVAL seconds while its reactor runs. The monitor checks every INTERVAL
seconds and adds up the time without a heartbeat. It counts only time during which it ran itself: if the machine sleeps,
or all processes are stopped, it resumes with the others. So one check adds LONGEST_STEP at most, and live processes
have the rest of the timeout to send a heartbeat.
"""

from __future__ import annotations

from attrs import frozen

INTERVAL = 1.0  # seconds between two heartbeats, and between two checks
MAX_STEP = 2 * INTERVAL  # maximum number of seconds added by one check
TIMEOUT = 7.0  # default seconds without a heartbeat: killing and replacing the process fit into ten


@frozen
class SilenceDetector:
    """Measures for how many seconds, on the monitor's clock, a process has sent no heartbeat."""

    silent_seconds: float = 0.0

    def record_silence(self, elapsed: float) -> SilenceDetector:
        """Returns the state after a check without a heartbeat, `elapsed` seconds after the previous check."""
        return SilenceDetector(self.silent_seconds + min(max(elapsed, 0.0), MAX_STEP))

    def is_hung(self, timeout: float) -> bool:
        """Returns whether the timeout has been reached."""
        return self.silent_seconds >= timeout
