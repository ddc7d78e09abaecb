"""Builds the load limits of a server: concurrency limits, queues, thread pools and memory budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zatotx.interfaces.pipeline import ICodec
from zatotx.interfaces.rate_limits import ILocalRateBuckets
from zatotx.interfaces.reactor import IReactor
from zatotx.metrics.definitions import OVERFLOW_LABEL
from zatotx.metrics.meters import MAX_NAMES
from zatotx.metrics.snapshot import MetricRow, MetricSource
from zatotx.node import health_findings
from zatotx.node.gc_tuning import make_garbage_collector
from zatotx.node.node_api import NodeApi
from zatotx.node.settings import Limits, Settings
from zatotx.pipeline.admission import Admission
from zatotx.pipeline.codecs import CodecRegistry
from zatotx.pipeline.rate_limiter import RateLimiter
from zatotx.processes.lock_files import DirectoryLock
from zatotx.processes.workers.control_pipe import WorkerSpec
from zatotx.processes.workers.shared_counters import SharedCounterRow, SharedCounters
from zatotx.processes.workers.shared_rate_buckets import SharedBuckets
from zatotx.processes.workers.singleton_task import SingletonTask
from zatotx.redis.client import ScriptRunner
from zatotx.redis.key_names import RedisKeys
from zatotx.redis.rate_buckets import RedisRateBuckets
from zatotx.rules.limits.concurrency_limit import ConcurrencyLimit, MessageContentLimits
from zatotx.rules.limits.memory_budget import CollectionTrigger, MemoryBudget
from zatotx.rules.limits.rate_buckets import RateBuckets
from zatotx.service.service_store import ServiceStore
from zatotx.service.stuck_threads import StuckThreads
from zatotx.system.thread_pool import DaemonThreadPool
from zatotx.wire.xml import libxml2_name_cache
from zatotx.wire.xml.document_limits import XmlLimits as XmlBudget

if TYPE_CHECKING:
    from zatotx.processes.workers.worker_group import WorkerGroup

_log = Logger()


def find_xml_name_leak() -> list[str]:
    """Return the findings about the memory that libxml2 uses for names in XML documents. The result is empty if lxml is
    not loaded."""
    return list(health_findings.find_xml_name_leak(libxml2_name_cache.is_release_supported_if_loaded()))


def log_xml_name_leak() -> None:
    """Log the findings about the memory for names in XML documents as errors."""
    for sentence in health_findings.find_xml_name_leak(False):
        _log.error('{sentence}', sentence=sentence)


MakeConcurrencyLimit = Callable[
    [str, int], ConcurrencyLimit
]  # (name of the limited object: 'node', 'service crm.get' …; limit)


def make_process_limit(name: str, limit: int) -> ConcurrencyLimit:
    """Create a concurrency limit that counts only the requests of this process."""
    return ConcurrencyLimit(limit)


def make_rate_limiter(reactor: IReactorTime, client: Any, cluster: str, buckets: ILocalRateBuckets) -> RateLimiter:
    """Create the rate limiter of a node. `client` is the RedisClient of the node."""
    return RateLimiter(RedisRateBuckets(reactor, ScriptRunner(client), RedisKeys(cluster)), buckets, reactor.seconds)


def _budget(limits: Limits) -> MessageContentLimits:
    return MessageContentLimits(
        json_depth=limits.json_depth, json_keys=limits.json_keys, form_fields=limits.form_fields,
        xml=XmlBudget(depth=limits.xml_depth, elements=limits.xml_elements, attributes=limits.xml_attributes,
                      per_element=limits.xml_element_attributes, namespaces=limits.xml_namespaces,
                      text=limits.xml_text),
    )  # fmt: skip


@define
class ServerLimits:
    """The load limits of a server, built from its settings."""

    settings: Settings
    reactor: IReactorTime
    rate_limiter: RateLimiter = field(factory=RateLimiter)
    make_limit: MakeConcurrencyLimit = make_process_limit
    formats: Callable[[MessageContentLimits], Mapping[str, ICodec]] = lambda budget: {}  # codecs of the installed kinds
    worker_threads: DaemonThreadPool = field(init=False)
    service_threads: DaemonThreadPool = field(init=False)
    stuck_threads: StuckThreads = field(init=False)
    admission: Admission = field(init=False)
    codecs: CodecRegistry = field(init=False)
    body_memory: MemoryBudget = field(init=False)

    def __attrs_post_init__(self) -> None:
        limits, threads = self.settings.limits, self.settings.threads
        self.worker_threads = DaemonThreadPool('worker', threads.workers)
        self.service_threads = DaemonThreadPool('service', threads.services, limits.in_flight)
        self.stuck_threads = StuckThreads(self.reactor)
        self.admission = Admission(self.reactor, node=self.make_limit('node', limits.in_flight),
                                   make_limit=self.make_limit)  # fmt: skip
        self.body_memory = MemoryBudget(limits.body_memory, make_garbage_collector(CollectionTrigger()))
        budget = _budget(limits)
        self.codecs = CodecRegistry(budget, self.formats(budget))

    def make_service_limit(self, name: str) -> ConcurrencyLimit:
        """Return a new concurrency limit for a service."""
        return self.make_limit(f'service {name}', self.settings.limits.service_in_flight)

    def metric_sources(self, services: ServiceStore) -> list[MetricSource]:
        """Return the metric sources of the limits."""

        def service_rows() -> Iterator[MetricRow]:
            entries = list(services.current)
            for entry in entries[:MAX_NAMES]:
                yield 'zatotx_service_limit', (entry.name,), entry.concurrency_limit.limit
                yield 'zatotx_service_refused', (entry.name,), entry.concurrency_limit.rejected
            if len(entries) > MAX_NAMES:
                refused = sum(entry.concurrency_limit.rejected for entry in entries[MAX_NAMES:])
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
        yield from _pool_rows(self.service_threads)
        yield 'zatotx_pool_refused', (self.service_threads.name,), self.service_threads.rejected
        yield 'zatotx_threads_stuck', (), self.stuck_threads.count()

    def _worker_thread_rows(self) -> Iterator[MetricRow]:
        yield from _pool_rows(self.worker_threads)


def _pool_rows(pool: DaemonThreadPool) -> Iterator[MetricRow]:
    yield 'zatotx_pool_threads', (pool.name,), pool.size
    yield 'zatotx_pool_busy', (pool.name,), pool.busy
    yield 'zatotx_pool_waiting', (pool.name,), pool.waiting


def server_start_time(work: Path) -> float:
    """Return the time at which the server was started, in unix time. For a worker, this is the time at which its parent
    process was started. `work` is the directory work/ of the server."""
    return (work / 'lock').stat().st_mtime


def make_shared_counter_lookup(work: Path, worker_spec: WorkerSpec) -> Callable[[str], SharedCounterRow | None]:
    """Return a function that finds this process's row of a shared counter by its name. Returns None if the server has a
    single process."""
    if not worker_spec.is_worker:
        return lambda name: None
    counters = SharedCounters(work)
    counters.clear(worker_spec.slot)
    return lambda name: counters.row(name, worker_spec.slot)


def make_shared_limit_factory(shared_counter: Callable[[str], SharedCounterRow | None]) -> MakeConcurrencyLimit:
    """Return a factory of concurrency limits that count the requests of all workers."""

    def make_limit(name: str, limit: int) -> ConcurrencyLimit:
        row = shared_counter(name)
        return (
            ConcurrencyLimit(limit)
            if row is None
            else ConcurrencyLimit(limit, count_others=row.sum_of_others, publish=row.set_own)
        )

    return make_limit


def make_rate_buckets(work: Path, worker_spec: WorkerSpec) -> ILocalRateBuckets:
    """Create the rate-limit buckets of this process. If the server has several workers, the workers share the
    buckets."""
    return cast('ILocalRateBuckets', SharedBuckets(work) if worker_spec.is_worker else RateBuckets())


def make_worker_group(work: Path, worker_spec: WorkerSpec, node_api: NodeApi, reactor: IReactor) -> WorkerGroup | None:
    """Create the WorkerGroup, which connects a worker with the other workers for metrics, findings and log levels.
    Returns None for a server without workers."""
    if not worker_spec.is_worker:
        return None
    from zatotx.processes.workers.worker_group import WorkerGroup

    group = WorkerGroup(
        work=work,
        slot=worker_spec.slot,
        reactor=reactor,
        exposition=node_api.exposition,
        findings=node_api.findings,
        offload=node_api.run_in_thread,
        levels=node_api.log_levels,
    )
    node_api.worker_group = group
    return group


def make_pickup_task(pickup: Any, work: Path, reactor: IReactorTime) -> SingletonTask:
    """Create the task that runs the pickup watcher in one process of the server."""
    return SingletonTask(name='the pickup directory', lock=DirectoryLock(work / 'duty-pickup.lock'), begin=pickup.start,
                end=pickup.stop, clock=reactor)  # fmt: skip
