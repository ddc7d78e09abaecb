"""The service zato.stats.get-current, which returns the number and the duration of service calls since this server was
started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zatotx.api.admin_service import AdminService
from zatotx.metrics.definitions import DEFINITIONS
from zatotx.rules.statistics.usage_rows import PERCENTILE, estimate_percentile

_CALLS, _ERRORS = 'zatotx_service_calls', 'zatotx_service_errors'
_IN_FLIGHT, _DURATION = 'zatotx_service_in_flight', 'zatotx_service_duration_seconds'
_REQUESTS, _NODE_IN_FLIGHT = 'zatotx_channel_requests', 'zatotx_node_in_flight'


class GetCurrent(AdminService):
    """Return the call statistics of this server, including all workers. Each invoked service has the fields `calls`,
    `errors`, `seconds` (total), `in_flight`, and `p95` (the 95th percentile of the duration in seconds). The server has
    the fields `requests`, which counts the requests of all channels except built-in ones, and `in_flight`."""

    name = 'zato.stats.get-current'

    async def handle(self) -> None:
        sample = await self.server.metric_sample()
        self.response.payload = {
            'server': self.server.name,
            'revision': self.server.config.snapshot.revision,
            'requests': sum(value for labels, value in sample.get(_REQUESTS, ()) if not _is_own(labels[1])),
            'in_flight': sum(value for _, value in sample.get(_NODE_IN_FLIGHT, ())),
            'services': statistics_by_service(sample),
        }


def statistics_by_service(sample: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return the call statistics of each service that was invoked, by service name. `sample` is a metrics snapshot
    (zatotx.metrics.snapshot)."""
    calls, errors, in_flight = (_by_service(sample, name) for name in (_CALLS, _ERRORS, _IN_FLIGHT))
    durations = {labels[0]: figure for labels, figure in sample.get(_DURATION, ())}
    rows = []
    for name in sorted(calls):
        if calls[name]:
            seconds, buckets = durations.get(name, (0.0, ()))
            rows.append({
                'name': name, 'calls': calls[name], 'errors': errors.get(name, 0), 'seconds': seconds,
                'in_flight': in_flight.get(name, 0),
                'p95': estimate_percentile(DEFINITIONS[_DURATION].bounds, buckets, PERCENTILE),
            })  # fmt: skip
    return rows


def _is_own(channel: str) -> bool:
    return channel.startswith(('zato.', 'admin.invoke'))


def _by_service(sample: Mapping[str, Sequence[Any]], name: str) -> dict[str, int]:
    return {labels[0]: value for labels, value in sample.get(name, ())}


SERVICES = (GetCurrent,)
