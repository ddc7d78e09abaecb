"""Builds the scheduler of a server."""

from __future__ import annotations

from collections.abc import Callable
from time import time

from zatotx.interfaces.reactor import IReactor
from zatotx.node.settings import Settings
from zatotx.odb.config_store import ConfigStore
from zatotx.redis.client import ScriptRunner
from zatotx.redis.job_run_history import RedisRunHistory
from zatotx.redis.key_names import RedisKeys
from zatotx.redis.leases import monotonic_clock
from zatotx.redis.tick_writer import RedisTickWriter
from zatotx.redis.work_stream import RedisWorkStream
from zatotx.scheduler.scheduler import Scheduler, make_server_clock
from zatotx.tap.build_connections import RedisConnections, make_lease_store


def make_scheduler(
    settings: Settings, reactor: IReactor, redis: RedisConnections, *, odb: ConfigStore, work: RedisWorkStream,
    has_service: Callable[[str], bool], can_lead: bool,
) -> Scheduler:
    """Create the scheduler of this process, without starting it. `can_lead` says whether this process takes part in the
    leader election."""
    main, client = settings.main, redis.client
    scripts, keys = ScriptRunner(client), RedisKeys(main.cluster)
    return Scheduler(
        clock=reactor, now=time, monotonic=monotonic_clock, cluster=main.cluster, node=main.name,
        leases=make_lease_store(reactor, client, odb, main.cluster), leaders=odb,
        ticks=RedisTickWriter(client, scripts, keys, work), history=RedisRunHistory(client, scripts, keys),
        read_server_clock=make_server_clock(client.execute), bus=redis.announcements, has_service=has_service,
        can_lead=can_lead,
    )  # fmt: skip
