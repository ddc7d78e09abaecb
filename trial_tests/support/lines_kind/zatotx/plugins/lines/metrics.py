"""What the lines kind counts."""

from __future__ import annotations


class LinesCounters:
    """Counts since the start of the node."""

    def __init__(self) -> None:
        self.clients = 0
        self.lines = 0
