"""When a process that should give heartbeats counts as hung. Pure: whoever watches it brings the time.

A watched process says every INTERVAL seconds that its reactor turns. Whoever watches looks every INTERVAL seconds too,
and adds up for how long nothing has come. Only time counts in which the watcher ran itself: when the machine sleeps, or
all processes are stopped together, it wakes up with the others and knows nothing of the time between. So one look adds
LONGEST_STEP at most, and whoever is alive has the rest of the timeout to say so.
"""

from __future__ import annotations

from attrs import frozen

INTERVAL = 1.0  # seconds between two heartbeats, and between two looks
LONGEST_STEP = 2 * INTERVAL  # seconds that one look may add
TIMEOUT = 7.0  # seconds without a heartbeat, unless settings say otherwise: kill and replacement fit into ten


@frozen
class SilenceDetector:
    """For how many seconds of the watcher's own time a process has given no heartbeat."""

    seconds: float = 0.0

    def after(self, elapsed: float) -> SilenceDetector:
        """Nothing has come since the last look, which was `elapsed` seconds ago by the watcher's clock."""
        return SilenceDetector(self.seconds + min(max(elapsed, 0.0), LONGEST_STEP))

    def is_hung(self, timeout: float) -> bool:
        """Whether that is longer than a process may be silent."""
        return self.seconds >= timeout
