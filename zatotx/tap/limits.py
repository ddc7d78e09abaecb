"""Puts together what keeps a server from taking more than it can do: gates, queues, thread pools, budgets."""

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
MOST_FILES = 65_536  # that a server asks for; what the machine allows may be less


def raise_file_limit() -> None:
    """Have as many file descriptors as the machine allows: each connection takes one, and the usual soft limit of 1024
    is there for programs that use select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def xml_names_findings(works: bool) -> list[str]:
    """What there is to say of the memory that names in XML documents take. It is logged too, once, at the start of a
    server. `works`: zatotx.wire.xml.name_cache.works()."""
    found = list(findings.names_kept(works))
    for sentence in found:
        _log.error('{sentence}', sentence=sentence)
    return found


MakeGate = Callable[
    [str, int], ConcurrencyLimit
]  # (name of what it is the gate of: 'node', 'service crm.get' …; limit)


def node_limit(name: str, limit: int) -> ConcurrencyLimit:
    """A gate of this process alone."""
    return ConcurrencyLimit(limit)


def rate_limiter(reactor: Any, client: Any, cluster: str, buckets: IBuckets) -> RateLimiter:
    """The rate limits of a node. `client`: zatotx.redis.client.RedisClient."""
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
    """What of a server is limited, by its settings."""

    settings: Settings
    reactor: Any
    rates: RateLimiter = field(factory=RateLimiter)
    make_gate: MakeGate = node_limit
    formats: Callable[[MessageBudget], Mapping[str, ICodec]] = lambda budget: {}  # those that kinds bring
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
        """The gate of a service that has none yet."""
        return self.make_gate(f'service {name}', self.settings.limits.service_in_flight)

    def sources(self, services: Any) -> list[Source]:
        """Where the figures of all this are. `services`: zatotx.service.service_store.ServiceStore."""

        def of_services() -> Iterator[Row]:
            entries = list(services.current)
            for entry in entries[:MOST]:
                yield 'zatotx_service_limit', (entry.name,), entry.gate.limit
                yield 'zatotx_service_refused', (entry.name,), entry.gate.refused
            if len(entries) > MOST:
                refused = sum(entry.gate.refused for entry in entries[MOST:])
                yield 'zatotx_service_refused', (OTHERS,), refused

        return [self._of_node, self._of_memory, of_services, self._of_channels, self._of_rates,
                self._of_service_threads, self._of_workers]  # fmt: skip

    def _of_node(self) -> Iterator[Row]:
        node = self.admission.node
        yield 'zatotx_node_in_flight', (), node.inside
        yield 'zatotx_node_limit', (), node.limit
        yield 'zatotx_node_refused', (), node.refused

    def _of_memory(self) -> Iterator[Row]:
        memory = self.memory
        yield 'zatotx_body_memory_bytes', (), memory.held
        yield 'zatotx_body_memory_limit_bytes', (), memory.limit
        yield 'zatotx_body_memory_refused', (), memory.refused

    def _of_channels(self) -> Iterator[Row]:
        for name, entrance in islice(self.admission.entrances(), MOST):
            yield 'zatotx_channel_refused', (*name, 'queue_full'), entrance.overflowed
            yield 'zatotx_channel_refused', (*name, 'queue_late'), entrance.late
            yield 'zatotx_channel_queue_length', name, entrance.waiting

    def _of_rates(self) -> Iterator[Row]:
        for name, refused in islice(self.rates.refused.copy().items(), MOST):
            yield 'zatotx_channel_rate_limited', name, refused
        yield 'zatotx_rate_limits_unchecked', (), self.rates.unchecked

    def _of_service_threads(self) -> Iterator[Row]:
        pool = self.service_threads
        yield 'zatotx_pool_threads', (pool.name,), pool.size
        yield 'zatotx_pool_busy', (pool.name,), pool.busy
        yield 'zatotx_pool_waiting', (pool.name,), pool.waiting
        yield 'zatotx_pool_refused', (pool.name,), pool.refused
        yield 'zatotx_threads_stuck', (), self.left_behind.count()

    def _of_workers(self) -> Iterator[Row]:
        pool = self.workers
        name, now = str(pool.name), pool._team.statistics()
        yield 'zatotx_pool_threads', (name,), pool.max
        yield 'zatotx_pool_busy', (name,), now.busyWorkerCount
        yield 'zatotx_pool_waiting', (name,), now.backloggedWorkCount
