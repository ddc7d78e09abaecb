"""The number of threads that connect at a time."""

from __future__ import annotations

from threading import Event, Thread

from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.sql.database import ConnectLimiter

_LONG = 30.0  # seconds; no test waits for it


class ConnectLimiterTests(SynchronousTestCase):
    def test_few_at_a_time(self) -> None:
        """A connect begins when one of those before it ends."""
        limiter = ConnectLimiter(at_once=1, max_wait=_LONG)
        waiting = Connect(limiter)
        with limiter.limit():
            waiting.start()
            self.assertFalse(waiting.began.wait(0.05))
        self.assertTrue(waiting.began.wait(_LONG))
        waiting.finish()

    def test_frozen_server(self) -> None:
        """Connects that take long do not keep others from connecting, and both leave the limit as it was."""
        limiter = ConnectLimiter(at_once=1, max_wait=0.01)
        other = Connect(limiter)
        with limiter.limit():
            other.start()
            self.assertTrue(other.began.wait(_LONG))
            other.finish()
        self.assertRaises(ValueError, limiter._connects.release)  # nothing is counted anymore


class Connect(Thread):
    """A thread that connects until it is told to finish."""

    def __init__(self, limiter: ConnectLimiter) -> None:
        super().__init__(daemon=True)
        self.began = Event()
        self._limiter = limiter
        self._ended = Event()

    def run(self) -> None:
        with self._limiter.limit():
            self.began.set()
            self._ended.wait(_LONG)

    def finish(self) -> None:
        """End the connect."""
        self._ended.set()
        self.join(_LONG)
