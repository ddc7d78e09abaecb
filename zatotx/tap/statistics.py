"""Builds the statistics of a node: the store, and what records the calls of its services."""

from __future__ import annotations

import os
from time import time

from zatotx.interfaces.reactor import IReactor
from zatotx.interfaces.statistics import IUsageStore
from zatotx.metrics.meters import MeterRegistry
from zatotx.metrics.usage_recorder import UsageRecorder
from zatotx.node.settings import Settings
from zatotx.processes.workers.control_pipe import WorkerSpec
from zatotx.redis.client import RedisClient, ScriptRunner
from zatotx.redis.keys import RedisKeys
from zatotx.redis.usage_store import RedisUsageStore
from zatotx.service.service_store import ServiceStore


def make_usage_store(client: RedisClient, cluster: str) -> RedisUsageStore:
    """Return the store of the usage of services of a cluster."""
    return RedisUsageStore(client, ScriptRunner(client), RedisKeys(cluster))


def make_usage_recorder(
    settings: Settings, reactor: IReactor, store: IUsageStore, *, services: ServiceStore, meters: MeterRegistry,
    worker_spec: WorkerSpec,
) -> UsageRecorder:
    """Return what records the calls of the services of this process, not yet started."""
    source = f'{settings.main.name}/{worker_spec.slot}/{os.getpid()}/{time():.0f}'
    return UsageRecorder(
        clock=reactor, now=time, source=source, store=store, overflow=meters.services.overflow,
        services=lambda: [(entry.name, entry.stats) for entry in services.current],
    )  # fmt: skip
