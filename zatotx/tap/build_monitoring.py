"""Builds the monitoring of a server, which consists of meters, the watchdog and metric sources."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field
from OpenSSL.SSL import Connection
from twisted.logger import Logger

from zatotx import __version__
from zatotx.interfaces.reactor import IReactor
from zatotx.metrics.meters import (
    MeterRegistry,
    build_info_metrics,
    process_metrics,
    service_metrics,
    single_value_metrics,
)
from zatotx.metrics.reactor_watchdog import Watchdog
from zatotx.metrics.snapshot import MetricRow, MetricSource
from zatotx.metrics.stack_location import make_deployed_name
from zatotx.metrics.user_metrics import UserMetrics
from zatotx.node.health_findings import find_reactor_stalls
from zatotx.node.live_config import LiveConfig
from zatotx.redis.client import RedisClient
from zatotx.service.service_store import ServiceStore

_log = Logger('zatotx.watchdog')


@define
class Monitoring:
    """The meters and the watchdog of a server. `deployed` is the directory of the deployed code."""

    reactor: IReactor
    deployed: Path
    meters: MeterRegistry = field(factory=MeterRegistry)
    user_metrics: UserMetrics = field(factory=UserMetrics)
    watchdog: Watchdog = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.watchdog = Watchdog(self.reactor, make_deployed_name(self.deployed),
                                 lambda sentence: _log.warn('{sentence}', sentence=sentence))

    def findings(self) -> Iterator[str]:
        """Yield a finding for each recent stall of the reactor."""
        return find_reactor_stalls(self.watchdog.reports.reported)

    def count_calls(self, services: ServiceStore, clients: Sequence[RedisClient]) -> None:
        """Start counting the calls of services and of the Redis clients."""
        self.meters.services.existing_names = lambda: [entry.name for entry in services.current]
        for client in clients:
            client.meter = self.meters.redis

    def metric_sources(
        self,
        *,
        names: Mapping[str, str],
        services: ServiceStore,
        channels: Mapping[str, Any],
        outgoing: Sequence[Any],
        logs: Any,
        config: LiveConfig,
        client: RedisClient,
    ) -> list[MetricSource]:
        """Return the metric sources of a server. `names`: node and cluster."""
        watchdog = self.watchdog
        return [
            self._service_source(services),
            *self.meters.sources(),
            self.user_metrics.rows,
            *(part.metrics for part in (*channels.values(), *outgoing) if hasattr(part, 'metrics')),
            self._stall_source(),
            single_value_metrics('zatotx_gc_pause_seconds', lambda: watchdog.pauses.pauses),
            single_value_metrics('zatotx_log_lines_lost', logs.lost),
            single_value_metrics('zatotx_config_revision', lambda: config.snapshot.revision),
            single_value_metrics('zatotx_odb_revision', lambda: config.newest),
            single_value_metrics('zatotx_odb_up', lambda: int(not config.unavailable_reason)),
            single_value_metrics('zatotx_redis_up', lambda: int(not client.problem)),
            single_value_metrics('zatotx_redis_connections', lambda: client.connections),
            build_info_metrics({'version': __version__, 'python': platform.python_version(), **names}),
            process_metrics(),
        ]

    def status_sources(self, services: ServiceStore) -> list[MetricSource]:
        """Return the metric sources of the figures in the status of a node. Reading all sources takes ten times as
        long if there are a thousand channels."""
        return [self._service_source(services), self.meters.channel_requests, self._stall_source()]

    def _service_source(self, services: ServiceStore) -> MetricSource:
        return service_metrics(
            lambda: [(entry.name, entry.stats) for entry in services.current], self.meters.services.overflow
        )

    def _stall_source(self) -> MetricSource:
        return single_value_metrics('zatotx_reactor_stall_seconds', lambda: self.watchdog.stalls)


def make_certificate_source(listeners: Any) -> MetricSource:
    """Return a metrics source with the expiry times of the listeners' TLS certificates. `listeners` are the Listeners
    of the node."""

    def rows() -> Iterator[MetricRow]:
        for certificate in tuple(listeners.certificates):
            found = Connection(certificate.getContext(), None).get_certificate()
            if found is not None:
                expiry = found.to_cryptography().not_valid_after_utc.timestamp()
                yield 'zatotx_certificate_expiry_timestamp_seconds', (certificate.description,), expiry

    return rows
