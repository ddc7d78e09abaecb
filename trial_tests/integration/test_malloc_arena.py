"""Memory that one thread has freed is reused by the others: measured in a separate process."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

# Four threads parse the same document, one after the other; each frees the tree before the next one begins.
PROGRAM = """
from threading import Barrier, Lock, Thread
from zatotx.node.gc_tuning import resident_size, share_malloc_arena
from zatotx.wire.xml.parser import parse_document

share_malloc_arena()
document = b'<rows>' + b'<row n="12345678"><name>a name</name></row>' * 40_000 + b'</rows>'
started, turn, sizes = Barrier(4), Lock(), []

def read():
    started.wait()  # all threads live at the same time, so that none gets the arena of one that has ended
    with turn:
        parse_document(document)
        sizes.append(resident_size())

before = resident_size()
threads = [Thread(target=read) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sizes[0] - before, sizes[-1] - before)
"""


class MallocArenaTests(SynchronousTestCase):
    def test_memory_is_reused_by_other_threads(self) -> None:
        """Four threads that parse a document one after the other need no more memory than one of them."""
        done = subprocess.run([sys.executable, '-c', PROGRAM], capture_output=True, text=True, timeout=120, check=True)
        first, last = map(int, done.stdout.split())
        self.assertLess(last, first + 8_000_000)
