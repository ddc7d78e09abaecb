"""Puts together what shows how a server is doing."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

from zatotx import __version__
from zatotx.metrics import areas
from zatotx.metrics.sample import Source


def sources(*, names: Mapping[str, str], services: Any, channels: Mapping[str, Any], watchdog: Any, logs: Any,
            config: Any, client: Any) -> list[Source]:
    """Where the figures of a server are. `names`: node and cluster."""
    counting = [channel.counters for channel in channels.values() if hasattr(channel, 'counters')]
    return [
        areas.services(lambda: [(entry.name, entry.stats) for entry in services.current]),
        *(areas.http(counters) for counters in counting),
        areas.figure('zatotx_reactor_stall_seconds', lambda: watchdog.stalls),
        areas.figure('zatotx_log_lines_lost', logs.lost),
        areas.figure('zatotx_config_revision', lambda: config.snapshot.revision),
        areas.figure('zatotx_redis_up', lambda: int(not client.problem)),
        areas.build({'version': __version__, 'python': platform.python_version(), **names}),
        areas.process(),
    ]
