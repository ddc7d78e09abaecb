"""The metrics of the lines kind as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from zatotx.interfaces.meters import COUNTER, MetricDefinition, MetricRow

DEFINITIONS = (
    MetricDefinition('zatotx_lines_clients', COUNTER, 'Clients that connected'),
    MetricDefinition('zatotx_lines_received', COUNTER, 'Lines that were received'),
)


class LinesCounters:
    """Counts since the start of the node."""

    def __init__(self) -> None:
        self.clients = 0
        self.lines = 0

    def rows(self) -> Iterator[MetricRow]:
        """The figures of now."""
        yield 'zatotx_lines_clients', (), self.clients
        yield 'zatotx_lines_received', (), self.lines
