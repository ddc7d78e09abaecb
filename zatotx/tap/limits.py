"""Builds what limits the load of a server: concurrency limits, queues, thread pools, budgets."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from attrs import define, field
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from zatotx.interfaces.pipeline import ICodec
from zatotx.interfaces.rate_limits import ILocalRateBuckets
from zatotx.metrics.definitions import OVERFLOW_LABEL
from zatotx.metrics.meters import MAX_NAMES
from zatotx.metrics.snapshot import MetricRow, MetricSource
from zatotx.node import findings
from zatotx.node.gc_tuning import make_garbage_collector
from zatotx.node.settings import Limits, Settings
from zatotx.node.thread_pools import make_daemon_pool
from zatotx.pipeline.admission import Admission
from zatotx.pipeline.codecs import CodecRegistry
from zatotx.pipeline.rate_limiter import RateLimiter
from zatotx.redis.keys import RedisKeys
from zatotx.redis.rate_buckets import RedisRateBuckets
from zatotx.redis.scripts import ScriptRunner
from zatotx.rules.limits.concurrency_limit import ConcurrencyLimit, MessageLimits
from zatotx.rules.limits.memory_budget import MemoryBudget
from zatotx.rules.limits.memory_triggers import CollectionTrigger
from zatotx.service.stuck_threads import StuckThreads
from zatotx.service.thread_pool import ServiceThreadPool
from zatotx.wire.xml.limits import XmlLimits as XmlBudget

_log = Logger()
MAX_OPEN_FILES = 65_536  # file descriptors that a server requests; the hard limit may be lower


def raise_file_limit() -> None:
    """Raise the soft limit of file descriptors as far as the hard limit allows. Each connection takes one descriptor,
    and the usual soft limit of 1024 exists for programs that use select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def log_xml_name_findings(works: bool) -> list[str]:
    """Return the findings on the memory that names in XML documents take, and log each of them as an error. `works`:
    zatotx.wire.xml.name_cache.is_supported()."""
    found = list(findings.find_xml_name_leak(works))
    for sentence in found:
        _log.error('{sentence}', sentence=sentence)
    return found


MakeConcurrencyLimit = Callable[
    [str, int], ConcurrencyLimit
]  # (name of the limited object: 'node', 'service crm.get' …; limit)


def make_process_limit(name: str, limit: int) -> ConcurrencyLimit:
    """Return a concurrency limit that counts this process only."""
    return ConcurrencyLimit(limit)


def make_rate_limiter(reactor: Any, client: Any, cluster: str, buckets: ILocalRateBuckets) -> RateLimiter:
    """Return the rate limiter of a node. `client`: zatotx.redis.client.RedisClient."""
    return RateLimiter(RedisRateBuckets(reactor, ScriptRunner(client), RedisKeys(cluster)), buckets, reactor.seconds)


def _budget(limits: Limits) -> MessageLimits:
    return MessageLimits(
        json_depth=limits.json_depth, json_keys=limits.json_keys, form_fields=limits.form_fields,
        xml=XmlBudget(depth=limits.xml_depth, elements=limits.xml_elements, attributes=limits.xml_attributes,
                      per_element=limits.xml_element_attributes, namespaces=limits.xml_namespaces,
                      text=limits.xml_text),
    )  # fmt: skip


@define
class ServerLimits:
    """The limits of a server, built from its settings."""

    settings: Settings
    reactor: Any
    rate_limiter: RateLimiter = field(factory=RateLimiter)
    make_limit: MakeConcurrencyLimit = make_process_limit
    formats: Callable[[MessageLimits], Mapping[str, ICodec]] = lambda budget: {}  # codecs of the installed kinds
    worker_threads: ThreadPool = field(init=False)
    service_threads: ServiceThreadPool = field(init=False)
    stuck_threads: StuckThreads = field(init=False)
    admission: Admission = field(init=False)
    codecs: CodecRegistry = field(init=False)
    body_memory: MemoryBudget = field(init=False)

    def __attrs_post_init__(self) -> None:
        limits, threads = self.settings.limits, self.settings.threads
        self.worker_threads = make_daemon_pool('worker', threads.workers)
        self.service_threads = ServiceThreadPool('service', threads.services, limits.in_flight)
        self.stuck_threads = StuckThreads(self.reactor)
        self.admission = Admission(self.reactor, node=self.make_limit('node', limits.in_flight),
                                   make_limit=self.make_limit)  # fmt: skip
        self.body_memory = MemoryBudget(limits.body_memory, make_garbage_collector(CollectionTrigger()))
        budget = _budget(limits)
        self.codecs = CodecRegistry(budget, self.formats(budget))

    def make_service_limit(self, name: str) -> ConcurrencyLimit:
        """Return a new concurrency limit for a service."""
        return self.make_limit(f'service {name}', self.settings.limits.service_in_flight)

    def metric_sources(self, services: Any) -> list[MetricSource]:
        """Return the metric sources of the limits. `services`: zatotx.service.service_store.ServiceStore."""

        def service_rows() -> Iterator[MetricRow]:
            entries = list(services.current)
            for entry in entries[:MAX_NAMES]:
                yield 'zatotx_service_limit', (entry.name,), entry.gate.limit
                yield 'zatotx_service_refused', (entry.name,), entry.gate.refused
            if len(entries) > MAX_NAMES:
                refused = sum(entry.gate.refused for entry in entries[MAX_NAMES:])
                yield 'zatotx_service_refused', (OVERFLOW_LABEL,), refused

        return [self._node_rows, self._memory_rows, service_rows, self._channel_rows, self._rate_rows,
                self._service_thread_rows, self._worker_thread_rows]  # fmt: skip

    def _node_rows(self) -> Iterator[MetricRow]:
        node = self.admission.node
        yield 'zatotx_node_in_flight', (), node.total_active
        yield 'zatotx_node_limit', (), node.limit
        yield 'zatotx_node_refused', (), node.rejected

    def _memory_rows(self) -> Iterator[MetricRow]:
        memory = self.body_memory
        yield 'zatotx_body_memory_bytes', (), memory.used
        yield 'zatotx_body_memory_limit_bytes', (), memory.limit
        yield 'zatotx_body_memory_refused', (), memory.rejected

    def _channel_rows(self) -> Iterator[MetricRow]:
        for name, queue in islice(self.admission.queues(), MAX_NAMES):
            yield 'zatotx_channel_refused', (*name, 'queue_full'), queue.rejected
            yield 'zatotx_channel_refused', (*name, 'queue_late'), queue.timed_out
            yield 'zatotx_channel_queue_length', name, queue.length

    def _rate_rows(self) -> Iterator[MetricRow]:
        for name, refused in islice(self.rate_limiter.refused.copy().items(), MAX_NAMES):
            yield 'zatotx_channel_rate_limited', name, refused
        yield 'zatotx_rate_limits_unchecked', (), self.rate_limiter.unchecked

    def _service_thread_rows(self) -> Iterator[MetricRow]:
        pool = self.service_threads
        yield 'zatotx_pool_threads', (pool.name,), pool.size
        yield 'zatotx_pool_busy', (pool.name,), pool.busy
        yield 'zatotx_pool_waiting', (pool.name,), pool.waiting
        yield 'zatotx_pool_refused', (pool.name,), pool.rejected
        yield 'zatotx_threads_stuck', (), self.stuck_threads.count()

    def _worker_thread_rows(self) -> Iterator[MetricRow]:
        pool = self.worker_threads
        name, statistics = str(pool.name), pool._team.statistics()
        yield 'zatotx_pool_threads', (name,), pool.max
        yield 'zatotx_pool_busy', (name,), statistics.busyWorkerCount
        yield 'zatotx_pool_waiting', (name,), statistics.backloggedWorkCount
