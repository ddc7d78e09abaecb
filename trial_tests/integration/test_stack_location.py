"""Inspection of other threads' frames: garbage collection is disabled meanwhile, and the interpreter does not crash."""

from __future__ import annotations

import gc
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from zatotx.metrics.stack_location import locate_frame
from zatotx.model.gc_disabled import GcDisabled

# A service is looked at again and again. Before each look at variables the collector is brought to the brink, so that
# it begins within the next allocations, and then it lets the service's thread go on.
LOOKED_AT = """
import gc, random, sys, threading, time
from zatotx.metrics.stack_location import locate_frame

class Service:
    _zatotx_name = 'crm.quick'

    def handle(self):
        for _ in range(5_000):
            pass

def serve():
    service = Service()
    while not over:
        service.handle()

def collected(phase, info):
    global left
    left -= 1
    if left == 0:
        time.sleep(0.001)

def deployed(filename):
    global left, kept
    left, kept = 0, [{} for _ in range(100)]  # the interpreter has no dict left over
    left = random.randrange(1, 4)
    return ''

left, kept, over = 0, [], False
thread = threading.Thread(target=serve)
thread.start()
gc.freeze()
gc.callbacks.append(collected)
gc.set_threshold(1, 1_000_000, 1_000_000)
sys.setswitchinterval(1e-4)
end = time.monotonic() + 2
while time.monotonic() < end:
    locate_frame(sys._current_frames()[thread.ident], deployed)
over = True
thread.join()
print('went on')
"""


class UncollectedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(gc.enable)

    def test_off_and_on(self) -> None:
        """Collection is enabled again by the last exit; if it was disabled before, it stays so."""
        uncollected = GcDisabled()
        with uncollected:
            with uncollected:
                self.assertFalse(gc.isenabled())
            self.assertFalse(gc.isenabled())
        self.assertTrue(gc.isenabled())
        gc.disable()
        with uncollected:
            self.assertFalse(gc.isenabled())
        self.assertFalse(gc.isenabled())

    def test_whatever_is_raised(self) -> None:
        """It is enabled again after an exception."""
        def raising() -> None:
            with GcDisabled():
                raise KeyError('x')

        self.assertRaises(KeyError, raising)
        self.assertTrue(gc.isenabled())

    def test_places(self) -> None:
        """Locating a frame disables collection."""
        seen: list[bool] = []

        def deployed(filename: str) -> str:
            seen.append(gc.isenabled())
            return ''

        self.assertIsNotNone(locate_frame(sys._getframe(), deployed))
        self.assertEqual((set(seen), gc.isenabled()), ({False}, True))

    def test_a_frame_that_ends_while_it_is_looked_at(self) -> None:
        """A frame that ends during the inspection does not crash the process; it once caused a segmentation fault."""
        command = [sys.executable, '-c', LOOKED_AT]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        self.assertEqual((done.returncode, done.stdout), (0, 'went on\n'), done.stderr)
