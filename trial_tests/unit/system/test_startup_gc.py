"""zatotx.system.startup_gc: objects that survive a collection during the start are not visited again."""

from __future__ import annotations

import gc
import linecache

from twisted.trial.unittest import SynchronousTestCase

from zatotx.system.startup_gc import freeze_survivors, stop_freezing


class StartupGCTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(gc.unfreeze)
        self.addCleanup(stop_freezing)
        gc.unfreeze()

    def test_survivors_are_frozen(self) -> None:
        """A collection of the middle generation freezes what survives it; one of the youngest does not."""
        freeze_survivors()
        gc.collect(0)
        self.assertEqual(gc.get_freeze_count(), 0)
        gc.collect(1)
        self.assertGreater(gc.get_freeze_count(), 1000)

    def test_generated_source(self) -> None:
        """The source that attrs keeps of the methods that it generates is dropped; that of files is read again."""
        freeze_survivors()
        lazily_read = linecache.getline(__file__, 1)
        linecache.cache['<attrs generated x>'] = (1, None, ['x'], '<attrs generated x>')
        gc.collect(1)
        self.assertNotIn('<attrs generated x>', linecache.cache)
        self.assertEqual(linecache.getline(__file__, 1), lazily_read)

    def test_stop(self) -> None:
        """After the start, collections freeze nothing, however often it was begun and ended."""
        freeze_survivors()
        freeze_survivors()
        stop_freezing()
        stop_freezing()
        gc.collect()
        self.assertEqual(gc.get_freeze_count(), 0)
