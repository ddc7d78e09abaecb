"""What a node finds not to be as it should be in its own parts: a sentence each, for zato.health.findings and
`zatotx doctor`. Cheap, no I/O: they read what is known anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from time import time
from typing import Any

RECENT = 3600.0  # seconds that a stall is worth a word
_WITHOUT_REDIS = {
    'local': 'rate limits count on each server alone, not in the cluster ({names})',
    'open': 'rate limits do not hold ({names})',
    'closed': 'channels let nobody in, as their rate limits cannot be checked ({names})',
}


def odb_away(config: Any) -> Iterator[str]:
    """`config`: LiveConfig."""
    if config.away:
        yield (f'the ODB could not be asked last time, the configuration of revision {config.snapshot.revision} stays '
               f'in force ({config.away}): see that the database runs and can be reached')  # fmt: skip


def redis_away(client: Any) -> Iterator[str]:
    """`client`: zatotx.redis.client.RedisClient."""
    if client.problem:
        yield f'Redis is away ({client.problem}): see that it runs, and that [kvdb] url leads to it'


def rates_without_redis(limiter: Any, client: Any) -> Iterator[str]:
    """`limiter`: zatotx.pipeline.rate_limiter.RateLimiter. One sentence for each way in which exact limits hold less
    now."""
    if client.problem:
        for setting, names in limiter.exact().items():
            what = _WITHOUT_REDIS[setting].format(names=', '.join(names))
            yield f'Redis is away, so {what}: see that it runs and can be reached'


def refused_code(keeper: Any) -> Iterator[str]:
    """`keeper`: VersionKeeper. One sentence for each active version that does not run here."""
    for why in keeper.verdicts.values():
        if why:
            yield f'deployed code is refused here ({why}): deploy a version that can be imported, or roll back'


def names_kept(works: bool) -> Iterator[str]:
    """`works`: zatotx.wire.xml.name_cache.works."""
    if not works:
        yield ('names in XML documents are never let go of with the lxml that is installed, so that hostile ones take '
               'memory for good: install a version that zatotx requires')  # fmt: skip


def stalls(said: Iterable[Any], now: float | None = None) -> Iterator[str]:
    """`said`: the watchdog's last reports. Those of the last hour, as what is older may be mended, and only those of
    deployed services: the rest is no fault that anybody could mend. `now`: unix time."""
    since = (time() if now is None else now) - RECENT
    for report in tuple(said):
        if report.when >= since and report.service and not report.service.startswith('zato.'):
            at = datetime.fromtimestamp(report.when, UTC).strftime('%H:%M:%S UTC')
            yield f'{report.sentence} ({at}): what takes long belongs into a plain `def` service, or behind an await'
