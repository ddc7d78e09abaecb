"""Builds the statistics components of a node, which are the usage store and the call recorders."""

from __future__ import annotations

import os
from collections.abc import Callable
from time import time

from zatotx.interfaces.reactor import IReactor
from zatotx.interfaces.statistics import IUsageStore
from zatotx.metrics.meters import MeterRegistry
from zatotx.metrics.usage_recorder import UsageRecorder
from zatotx.node.settings import Settings
from zatotx.processes.workers.control_pipe import WorkerSpec
from zatotx.redis.call_sample_store import RedisCallSampleStore
from zatotx.redis.client import RedisClient, ScriptRunner
from zatotx.redis.key_names import RedisKeys
from zatotx.redis.service_usage_store import RedisUsageStore
from zatotx.service.call_recorder import ServiceCallRecorder
from zatotx.service.service_store import ServiceStore


def make_usage_store(client: RedisClient, cluster: str) -> RedisUsageStore:
    """Create the store for the usage of a cluster's services."""
    return RedisUsageStore(client, ScriptRunner(client), RedisKeys(cluster))


def make_call_sample_store(client: RedisClient, cluster: str) -> RedisCallSampleStore:
    """Create the store for the recorded calls of a cluster."""
    return RedisCallSampleStore(client, RedisKeys(cluster))


def make_sampler_factory(client: RedisClient, cluster: str) -> Callable[[str, int, int], ServiceCallRecorder]:
    """Return a factory that creates the call recorder of a service (see ServiceStore.make_sampler)."""
    store = make_call_sample_store(client, cluster)
    return lambda service, slow_threshold, every: ServiceCallRecorder(
        service=service, slow_threshold=slow_threshold, every=every, store=store, now=time
    )


def make_usage_recorder(
    settings: Settings, reactor: IReactor, store: IUsageStore, *, services: ServiceStore, meters: MeterRegistry,
    worker_spec: WorkerSpec,
) -> UsageRecorder:
    """Create the usage recorder for the services of this process, without starting it."""
    source = f'{settings.main.name}/{worker_spec.slot}/{os.getpid()}/{time():.0f}'
    return UsageRecorder(
        clock=reactor, now=time, source=source, store=store, overflow=meters.services.overflow,
        services=lambda: [(entry.name, entry.stats) for entry in services.current],
    )  # fmt: skip
