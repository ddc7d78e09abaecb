"""What the garbage collector is told while a node starts, and once it has everything it needs."""

from __future__ import annotations

import gc

# A request leaves a few dozen containers behind, nearly all freed by their reference counts. The default of 700 would
# look for cycles every twenty requests.
YOUNG, MIDDLE, OLD = 20_000, 20, 20


def hold() -> None:
    """Modules are imported and a node is built, which leaves next to no cycles: looking for them again and again took a
    sixth of the time. To be followed by `settle`, or the end of the process."""
    gc.disable()


def settle() -> None:
    """Everything that lives now lives as long as the process: never look through it again."""
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
