"""Builds the monitoring of a server: meters, watchdog and metric sources."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field
from OpenSSL.SSL import Connection
from twisted.logger import Logger

from zatotx import __version__
from zatotx.metrics import collectors
from zatotx.metrics.meters import MeterRegistry
from zatotx.metrics.snapshot import Row, Source
from zatotx.metrics.stack_location import files_below
from zatotx.metrics.user_metrics import UserMetrics
from zatotx.metrics.watchdog import Watchdog
from zatotx.node.findings import stalls

_log = Logger('zatotx.watchdog')


@define
class Monitoring:
    """The meters and the watchdog of a server. `deployed`: the directory of the deployed code."""

    reactor: Any
    deployed: Path
    meters: MeterRegistry = field(factory=MeterRegistry)
    user_metrics: UserMetrics = field(factory=UserMetrics)
    watchdog: Watchdog = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.watchdog = Watchdog(self.reactor, files_below(self.deployed),
                                 lambda sentence: _log.warn('{sentence}', sentence=sentence))

    def findings(self) -> Iterator[str]:
        """Yield a finding for each recent stall of the reactor."""
        return stalls(self.watchdog.reports.said)

    def counts(self, services: Any, client: Any) -> None:
        """Start counting the calls of services and of the Redis client."""
        self.meters.services.alive = lambda: [entry.name for entry in services.current]
        client.meter = self.meters.redis

    def sources(self, *, names: Mapping[str, str], services: Any, channels: Mapping[str, Any], logs: Any, config: Any,
                client: Any) -> list[Source]:
        """Return the metric sources of a server. `names`: node and cluster."""
        counters_of_channels = [channel.counters for channel in channels.values() if hasattr(channel, 'counters')]
        watchdog = self.watchdog
        return [
            collectors.services(lambda: [(entry.name, entry.stats) for entry in services.current],
                           self.meters.services.others),
            *self.meters.sources(),
            self.user_metrics.rows,
            *(collectors.http(counters) for counters in counters_of_channels),
            collectors.figure('zatotx_reactor_stall_seconds', lambda: watchdog.stalls),
            collectors.figure('zatotx_gc_pause_seconds', lambda: watchdog.pauses.pauses),
            collectors.figure('zatotx_log_lines_lost', logs.lost),
            collectors.figure('zatotx_config_revision', lambda: config.snapshot.revision),
            collectors.figure('zatotx_odb_revision', lambda: config.newest),
            collectors.figure('zatotx_odb_up', lambda: int(not config.away)),
            collectors.figure('zatotx_redis_up', lambda: int(not client.problem)),
            collectors.figure('zatotx_redis_connections', lambda: client.connections),
            collectors.build({'version': __version__, 'python': platform.python_version(), **names}),
            collectors.process(),
        ]


def certificates(listeners: Any) -> Source:
    """Return a metric source with the expiry times of the listeners' TLS certificates. `listeners`:
    zatotx.node.listeners.Listeners."""

    def rows() -> Iterator[Row]:
        for certificate in tuple(listeners.certificates):
            found = Connection(certificate.getContext(), None).get_certificate()
            if found is not None:
                expiry = found.to_cryptography().not_valid_after_utc.timestamp()
                yield 'zatotx_certificate_expiry_timestamp_seconds', (certificate.description,), expiry

    return rows
