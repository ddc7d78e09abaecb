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
from zatotx.interfaces.rates import IBuckets
from zatotx.metrics.definitions import OTHERS
from zatotx.metrics.meters import MOST
from zatotx.metrics.snapshot import Row, Source
from zatotx.node import findings
from zatotx.node.gc_tuning import collector
from zatotx.node.settings import Limits, Settings
from zatotx.node.thread_pools import daemon_pool
from zatotx.pipeline.admission import Admission
from zatotx.pipeline.codecs import Codecs
from zatotx.pipeline.rate_limiter import RateLimiter
from zatotx.redis.keys import Keys
from zatotx.redis.rate_buckets import RedisRates
from zatotx.redis.scripts import Scripts
from zatotx.rules.limits.byte_budget import ByteBudget
from zatotx.rules.limits.collection_pace import CollectionTrigger
from zatotx.rules.limits.limits import ConcurrencyLimit, MessageBudget
from zatotx.service.stuck_threads import StuckThreads
from zatotx.service.thread_pool import ServiceThreads
from zatotx.wire.xml.budget import XmlBudget as XmlBudget

_log = Logger()
MOST_FILES = 65_536  # file descriptors that a server requests; the hard limit may be lower


def raise_file_limit() -> None:
    """Raise the soft limit of file descriptors as far as the hard limit allows. Each connection takes one descriptor,
    and the usual soft limit of 1024 exists for programs that use select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def xml_names_findings(works: bool) -> list[str]:
    """Return the findings on the memory that names in XML documents take, and log each of them as an error. `works`:
    zatotx.wire.xml.name_cache.works()."""
    found = list(findings.names_kept(works))
    for sentence in found:
        _log.error('{sentence}', sentence=sentence)
    return found


MakeGate = Callable[
    [str, int], ConcurrencyLimit
]  # (name of the limited object: 'node', 'service crm.get' …; limit)


def node_limit(name: str, limit: int) -> ConcurrencyLimit:
    """Return a concurrency limit that counts this process only."""
    return ConcurrencyLimit(limit)


def rate_limiter(reactor: Any, client: Any, cluster: str, buckets: IBuckets) -> RateLimiter:
    """Return the rate limiter of a node. `client`: zatotx.redis.client.RedisClient."""
    return RateLimiter(RedisRates(reactor, Scripts(client), Keys(cluster)), buckets, reactor.seconds)


def _budget(limits: Limits) -> MessageBudget:
    return MessageBudget(
        json_depth=limits.json_depth, json_keys=limits.json_keys, form_fields=limits.form_fields,
        xml=XmlBudget(depth=limits.xml_depth, elements=limits.xml_elements, attributes=limits.xml_attributes,
                      per_element=limits.xml_element_attributes, namespaces=limits.xml_namespaces,
                      text=limits.xml_text),
    )  # fmt: skip


@define
class LimitsWiring:
    """The limits of a server, built from its settings."""

    settings: Settings
    reactor: Any
    rates: RateLimiter = field(factory=RateLimiter)
    make_gate: MakeGate = node_limit
    formats: Callable[[MessageBudget], Mapping[str, ICodec]] = lambda budget: {}  # codecs of the installed kinds
    workers: ThreadPool = field(init=False)
    service_threads: ServiceThreads = field(init=False)
    left_behind: StuckThreads = field(init=False)
    admission: Admission = field(init=False)
    codecs: Codecs = field(init=False)
    memory: ByteBudget = field(init=False)

    def __attrs_post_init__(self) -> None:
        limits, threads = self.settings.limits, self.settings.threads
        self.workers = daemon_pool('worker', threads.workers)
        self.service_threads = ServiceThreads('service', threads.services, limits.in_flight)
        self.left_behind = StuckThreads(self.reactor)
        self.admission = Admission(self.reactor, node=self.make_gate('node', limits.in_flight),
                                   make_gate=self.make_gate)  # fmt: skip
        self.memory = ByteBudget(limits.body_memory, collector(CollectionTrigger()))
        budget = _budget(limits)
        self.codecs = Codecs(budget, self.formats(budget))

    def gate_of_service(self, name: str) -> ConcurrencyLimit:
        """Return a new concurrency limit for a service."""
        return self.make_gate(f'service {name}', self.settings.limits.service_in_flight)

    def sources(self, services: Any) -> list[Source]:
        """Return the metric sources of the limits. `services`: zatotx.service.service_store.ServiceStore."""

        def service_rows() -> Iterator[Row]:
            entries = list(services.current)
            for entry in entries[:MOST]:
                yield 'zatotx_service_limit', (entry.name,), entry.gate.limit
                yield 'zatotx_service_refused', (entry.name,), entry.gate.refused
            if len(entries) > MOST:
                refused = sum(entry.gate.refused for entry in entries[MOST:])
                yield 'zatotx_service_refused', (OTHERS,), refused

        return [self._node_rows, self._memory_rows, service_rows, self._channel_rows, self._rate_rows,
                self._service_thread_rows, self._worker_thread_rows]  # fmt: skip

    def _node_rows(self) -> Iterator[Row]:
        node = self.admission.node
        yield 'zatotx_node_in_flight', (), node.inside
        yield 'zatotx_node_limit', (), node.limit
        yield 'zatotx_node_refused', (), node.refused

    def _memory_rows(self) -> Iterator[Row]:
        memory = self.memory
        yield 'zatotx_body_memory_bytes', (), memory.held
        yield 'zatotx_body_memory_limit_bytes', (), memory.limit
        yield 'zatotx_body_memory_refused', (), memory.refused

    def _channel_rows(self) -> Iterator[Row]:
        for name, queue in islice(self.admission.entrances(), MOST):
            yield 'zatotx_channel_refused', (*name, 'queue_full'), queue.overflowed
            yield 'zatotx_channel_refused', (*name, 'queue_late'), queue.late
            yield 'zatotx_channel_queue_length', name, queue.waiting

    def _rate_rows(self) -> Iterator[Row]:
        for name, refused in islice(self.rates.refused.copy().items(), MOST):
            yield 'zatotx_channel_rate_limited', name, refused
        yield 'zatotx_rate_limits_unchecked', (), self.rates.unchecked

    def _service_thread_rows(self) -> Iterator[Row]:
        pool = self.service_threads
        yield 'zatotx_pool_threads', (pool.name,), pool.size
        yield 'zatotx_pool_busy', (pool.name,), pool.busy
        yield 'zatotx_pool_waiting', (pool.name,), pool.waiting
        yield 'zatotx_pool_refused', (pool.name,), pool.refused
        yield 'zatotx_threads_stuck', (), self.left_behind.count()

    def _worker_thread_rows(self) -> Iterator[Row]:
        pool = self.workers
        name, statistics = str(pool.name), pool._team.statistics()
        yield 'zatotx_pool_threads', (name,), pool.max
        yield 'zatotx_pool_busy', (name,), statistics.busyWorkerCount
        yield 'zatotx_pool_waiting', (name,), statistics.backloggedWorkCount
