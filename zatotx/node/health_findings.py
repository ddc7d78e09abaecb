"""Detects health problems in a node's own components, for zato.health.findings and `zatotx doctor`. Each problem is
reported in one sentence. The functions perform no I/O, and read only state that is already known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from time import time
from typing import Any

from zatotx.node.live_config import LiveConfig
from zatotx.pipeline.rate_limiter import RateLimiter
from zatotx.redis.client import RedisClient
from zatotx.service.deployment.deployer import VersionManager

STALL_REPORT_AGE = 3600.0  # seconds for which a stall is reported
_WITHOUT_REDIS = {
    'local': 'rate limits are counted per server, not for the cluster ({names})',
    'open': 'rate limits are not enforced ({names})',
    'closed': 'channels reject all requests, because their rate limits cannot be checked ({names})',
}


def find_odb_outage(config: LiveConfig) -> Iterator[str]:
    """Yield a finding if the ODB was unavailable at the last attempt to use it."""
    if config.unavailable_reason:
        yield (f'the ODB could not be asked last time, the configuration of revision {config.snapshot.revision} stays '
               f'in force ({config.unavailable_reason}): see that the database runs and can be reached')  # fmt: skip


def find_redis_outage(client: RedisClient) -> Iterator[str]:
    """Yield a finding if Redis is unavailable."""
    if client.problem:
        yield f'Redis is unavailable ({client.problem}): see that it runs, and that [kvdb] url leads to it'


def find_weakened_rate_limits(limiter: RateLimiter, client: RedisClient) -> Iterator[str]:
    """Yield one finding for each way in which cluster-wide rate limits are less exact while Redis is unavailable."""
    if client.problem:
        for setting, names in limiter.exact_limits().items():
            what = _WITHOUT_REDIS[setting].format(names=', '.join(names))
            yield f'Redis is unavailable, so {what}: see that it runs and can be reached'


def find_rejected_code(version_keeper: VersionManager) -> Iterator[str]:
    """Yield a finding for each active code version that this node failed to import."""
    for reason in version_keeper.verdicts.values():
        if reason:
            yield f'deployed code is refused here ({reason}): deploy a version that can be imported, or roll back'


def find_xml_name_leak(releases_names: bool) -> Iterator[str]:
    """Yield a finding if the installed lxml never frees the names of XML elements. `releases_names` is the result of
    zatotx.wire.xml.libxml2_name_cache.is_name_release_supported."""
    if not releases_names:
        yield ('names in XML documents are never let go of with the lxml that is installed, so that hostile ones take '
               'memory for good: install a version that zatotx requires')  # fmt: skip


def find_reactor_stalls(reports: Iterable[Any], now: float | None = None) -> Iterator[str]:
    """Yield a finding for each reactor stall of the last hour that a deployed service caused. Other stalls are omitted,
    because users cannot fix them. `reports` are the last reports of the watchdog, and `now` is unix time in seconds."""
    since = (time() if now is None else now) - STALL_REPORT_AGE
    for report in tuple(reports):
        if report.when >= since and report.service and not report.service.startswith('zato.'):
            at = datetime.fromtimestamp(report.when, UTC).strftime('%H:%M:%S UTC')
            yield f'{report.message} ({at}): what takes long belongs into a plain `def` service, or behind an await'
