"""Definitions of the broker's own metrics. A definition contains the name, the help text, the labels, and the way in
which the values of several workers are merged.

Kinds declare theirs in the same form, and `register` adds them. The Prometheus text, the sums over a node's workers
and the reference page are derived from them. Names follow https://prometheus.io/docs/practices/naming/: base units, and
`_total` for counters (added by the text format).
"""

from __future__ import annotations

from collections.abc import Iterable

from zatotx.interfaces.meters import COUNTER, GAUGE, HISTOGRAM, INFO, MetricDefinition
from zatotx.metrics.counters import LATENCY_BUCKETS, PAUSE_BUCKETS, STALL_BUCKETS

OVERFLOW_LABEL = '(others)'  # label value for everything beyond the maximum number of series of a metric

_SERVICE = ('service',)
_CHANNEL = ('kind', 'channel')
_OUTGOING = ('type', 'connection')
_POOL = ('pool',)
_CACHE = ('cache',)
_USER = ('name',)


def _call_metrics(prefix: str, callee: str, labels: tuple[str, ...] = ()) -> tuple[MetricDefinition, ...]:
    """Return the metrics of calls of `what`, e.g. 'a service'."""
    return (
        MetricDefinition(f'{prefix}_calls', COUNTER, f'Calls of {callee} that finished, including failed ones', labels),
        MetricDefinition(f'{prefix}_errors', COUNTER, f'Calls of {callee} that failed', labels),
        MetricDefinition(
            f'{prefix}_errors_by_kind',
            COUNTER,
            f'Calls of {callee} that failed, by error: BadRequest,'
            ' Timeout … or Exception for errors that zatotx does not define',
            (*labels, 'kind'),
        ),
        MetricDefinition(f'{prefix}_in_flight', GAUGE, f'Calls of {callee} in progress', labels),
        MetricDefinition(
            f'{prefix}_duration_seconds', HISTOGRAM, f'Duration of calls of {callee}', labels, bounds=LATENCY_BUCKETS
        ),
    )


_DEFINITIONS = (
    *_call_metrics('zatotx_service', 'a service', _SERVICE),
    MetricDefinition('zatotx_channel_requests', COUNTER, 'Requests or messages that a channel received', _CHANNEL),
    MetricDefinition(
        'zatotx_channel_answers',
        COUNTER,
        'Responses of a channel by status class: 2xx, 4xx … or gone if the client disconnected first',
        (*_CHANNEL, 'status'),
    ),
    MetricDefinition('zatotx_channel_in_flight', GAUGE, 'Requests of a channel without a response yet', _CHANNEL),
    MetricDefinition(
        'zatotx_channel_duration_seconds',
        HISTOGRAM,
        'Time from the head of a request until its response was written',
        _CHANNEL,
        bounds=LATENCY_BUCKETS,
    ),
    *_call_metrics('zatotx_outgoing', 'an outgoing connection', _OUTGOING),
    MetricDefinition(
        'zatotx_outgoing_circuit_open',
        GAUGE,
        'Workers in which the circuit breaker of an outgoing connection is open or half-open',
        _OUTGOING,
    ),
    MetricDefinition(
        'zatotx_outgoing_circuit_half_open',
        GAUGE,
        'Workers in which the circuit breaker of an outgoing connection is half-open',
        _OUTGOING,
    ),
    MetricDefinition(
        'zatotx_outgoing_circuits_opened',
        COUNTER,
        'How many times the circuit breaker of an outgoing connection opened',
        _OUTGOING,
    ),
    MetricDefinition('zatotx_outgoing_retries', COUNTER, 'Retries of calls of an outgoing connection', _OUTGOING),
    MetricDefinition(
        'zatotx_service_limit', GAUGE, 'Maximum number of concurrent calls of a service', _SERVICE, merge=max
    ),
    MetricDefinition(
        'zatotx_service_refused', COUNTER, 'Calls of a service rejected at its concurrency limit', _SERVICE
    ),
    MetricDefinition(
        'zatotx_channel_refused',
        COUNTER,
        'Requests of a channel rejected at its concurrency limit: queue_full if its queue was full (or it'
        ' has none), queue_late if they waited too long',
        (*_CHANNEL, 'reason'),
    ),
    MetricDefinition(
        'zatotx_channel_rate_limited', COUNTER, 'Requests of a channel that exceeded one of its rate limits', _CHANNEL
    ),
    MetricDefinition('zatotx_rate_limits_unchecked', COUNTER, 'Requests whose exact rate limits Redis could not check'),
    MetricDefinition('zatotx_channel_queue_length', GAUGE, 'Requests of a channel that wait in its queue', _CHANNEL),
    MetricDefinition('zatotx_node_in_flight', GAUGE, 'Requests that this server is processing'),
    MetricDefinition('zatotx_node_limit', GAUGE, 'Maximum number of concurrent requests of this server', merge=max),
    MetricDefinition('zatotx_node_refused', COUNTER, 'Requests rejected at the concurrency limit of this server'),
    MetricDefinition('zatotx_body_memory_bytes', GAUGE, 'Memory used by request bodies, raw and parsed, in bytes'),
    MetricDefinition('zatotx_body_memory_limit_bytes', GAUGE, 'Maximum memory for request bodies, in bytes'),
    MetricDefinition(
        'zatotx_body_memory_refused', COUNTER, 'Requests rejected because the memory for bodies was exhausted'
    ),
    MetricDefinition('zatotx_pool_threads', GAUGE, 'Maximum number of threads of a pool', _POOL),
    MetricDefinition('zatotx_pool_busy', GAUGE, 'Busy threads of a pool', _POOL),
    MetricDefinition('zatotx_pool_waiting', GAUGE, 'Jobs that wait for a thread of a pool', _POOL),
    MetricDefinition('zatotx_pool_refused', COUNTER, 'Jobs rejected because the queue of a pool was full', _POOL),
    MetricDefinition(
        'zatotx_threads_stuck', GAUGE, 'Service threads whose service is still running after its deadline'
    ),
    MetricDefinition(
        'zatotx_reactor_stall_seconds', HISTOGRAM, 'How late the reactor called its timers', bounds=STALL_BUCKETS
    ),
    MetricDefinition(
        'zatotx_gc_pause_seconds', HISTOGRAM, 'Pauses of the process for garbage collection', bounds=PAUSE_BUCKETS
    ),
    MetricDefinition('zatotx_log_lines_lost', COUNTER, 'Log lines lost because they could not be written'),
    MetricDefinition('zatotx_config_revision', GAUGE, 'The revision of the configuration in force', merge=min),
    MetricDefinition('zatotx_redis_up', GAUGE, 'Whether Redis is connected: 1 or 0', merge=min),
    MetricDefinition('zatotx_redis_connections', COUNTER, 'Connections made to Redis, including the first'),
    *_call_metrics('zatotx_redis', 'Redis'),
    MetricDefinition('zatotx_odb_up', GAUGE, 'Whether the last query of the ODB succeeded: 1 or 0', merge=min),
    MetricDefinition('zatotx_odb_revision', GAUGE, 'The last known revision of the ODB', merge=max),
    *_call_metrics('zatotx_odb', 'the ODB'),
    MetricDefinition('zatotx_work_runs', COUNTER, 'Runs of asynchronous invocations, including failed ones'),
    MetricDefinition('zatotx_work_failures', COUNTER, 'Runs of asynchronous invocations that failed'),
    MetricDefinition('zatotx_work_retries', COUNTER, 'Asynchronous invocations that were delayed for another run'),
    MetricDefinition('zatotx_work_dead_letters', COUNTER, 'Asynchronous invocations that became dead letters'),
    MetricDefinition(
        'zatotx_work_newer', COUNTER, 'Asynchronous invocations that were left to nodes of a newer version'
    ),
    MetricDefinition(
        'zatotx_work_expired', COUNTER, 'Asynchronous invocations that expired before they ran'
    ),
    MetricDefinition(
        'zatotx_work_recovered', COUNTER, 'Asynchronous invocations taken over from processes that had died'
    ),
    MetricDefinition('zatotx_work_running', GAUGE, 'Asynchronous invocations that this server is running'),
    MetricDefinition(
        'zatotx_work_waiting', GAUGE, 'Asynchronous invocations of the cluster that wait for a server', merge=max
    ),
    MetricDefinition(
        'zatotx_work_delayed', GAUGE, 'Asynchronous invocations of the cluster that wait for another run', merge=max
    ),
    MetricDefinition('zatotx_dead_letters', GAUGE, 'Dead letters stored in the ODB', merge=max),
    MetricDefinition(
        'zatotx_cache_evictions', COUNTER, 'Entries of a cache of services that this server evicted', _CACHE
    ),
    MetricDefinition(
        'zatotx_cache_entries', GAUGE, 'Entries of a cache after the last write of this server', _CACHE, merge=max
    ),
    MetricDefinition(
        'zatotx_cache_bytes',
        GAUGE,
        'Bytes of the keys and values of a cache after the last write of this server',
        _CACHE,
        merge=max,
    ),
    MetricDefinition('zatotx_cache_max_entries', GAUGE, 'Entries that each cache may have', merge=max),
    MetricDefinition(
        'zatotx_cache_max_bytes', GAUGE, 'Bytes that the keys and values of each cache may have', merge=max
    ),
    MetricDefinition('zatotx_scheduler_leader', GAUGE, 'Whether this server leads the scheduler: 1 or 0', merge=max),
    MetricDefinition('zatotx_scheduler_epoch', GAUGE, 'The epoch in which this server leads, or 0', merge=max),
    MetricDefinition('zatotx_scheduler_jobs', GAUGE, 'Active jobs of the scheduler', merge=max),
    MetricDefinition(
        'zatotx_scheduler_clock_offset_seconds',
        GAUGE,
        'Seconds by which the clock of this server is ahead of that of Redis',
        merge=max,
    ),
    MetricDefinition(
        'zatotx_scheduler_lateness_seconds',
        GAUGE,
        'Seconds by which the first due run that is not in the work stream yet is late',
        merge=max,
    ),
    MetricDefinition('zatotx_scheduler_ticks', COUNTER, 'Runs of jobs that this server wrote to the work stream'),
    MetricDefinition('zatotx_scheduler_late_ticks', COUNTER, 'Of these, runs that were more than a second late'),
    MetricDefinition(
        'zatotx_scheduler_missed_ticks', COUNTER, 'Runs that were missed for longer than misfire_grace and made up'
    ),
    MetricDefinition(
        'zatotx_scheduler_duplicate_ticks', COUNTER, 'Runs that Redis refused because it had them already'
    ),
    MetricDefinition(
        'zatotx_scheduler_skipped_ticks', COUNTER, 'Runs that were skipped because another one had not ended'
    ),
    MetricDefinition('zatotx_scheduler_runs', COUNTER, 'Runs of jobs on this server, including failed ones'),
    MetricDefinition('zatotx_scheduler_failed_runs', COUNTER, 'Runs of jobs on this server that failed'),
    MetricDefinition(
        'zatotx_certificate_expiry_timestamp_seconds',
        GAUGE,
        'When the certificate of a TLS listener expires, in seconds since the unix epoch',
        ('listener',),
        merge=min,
    ),
    MetricDefinition(
        'zatotx_build_info', INFO, 'Version and identity of the server', ('version', 'python', 'node', 'cluster')
    ),
    MetricDefinition('zatotx_user_counter', COUNTER, 'Counters of services (self.metrics.incr)', _USER),
    MetricDefinition(
        'zatotx_user_gauge',
        GAUGE,
        'Gauges of services (self.metrics.gauge); the highest of several workers',
        _USER,
        merge=max,
    ),
    MetricDefinition(
        'zatotx_user_timing_seconds',
        HISTOGRAM,
        'Timings of services (self.metrics.timing)',
        _USER,
        bounds=LATENCY_BUCKETS,
    ),
    MetricDefinition('zatotx_metrics_failed', GAUGE, 'Sources of metrics that failed, whose metrics are missing'),
    MetricDefinition('zatotx_workers', GAUGE, 'Worker processes whose metrics are included'),
    # Metrics of the process, with the names of prometheus_client's collector.
    MetricDefinition('process_virtual_memory_bytes', GAUGE, 'Virtual memory size in bytes'),
    MetricDefinition('process_resident_memory_bytes', GAUGE, 'Resident memory size in bytes'),
    MetricDefinition('process_start_time_seconds', GAUGE, 'Start time since unix epoch in seconds', merge=min),
    MetricDefinition('process_cpu_seconds', COUNTER, 'Total user and system CPU time spent in seconds'),
    MetricDefinition('process_open_fds', GAUGE, 'Number of open file descriptors'),
    MetricDefinition('process_max_fds', GAUGE, 'Maximum number of open file descriptors', merge=min),
)

DEFINITIONS = {family.name: family for family in _DEFINITIONS}
assert len(DEFINITIONS) == len(_DEFINITIONS)


def register_kind_metrics(definitions: Iterable[MetricDefinition]) -> None:
    """Register the metrics that the connector kinds define, once in each process that exposes metrics. Raises
    ValueError if two metrics have the same name."""
    for one in definitions:
        if DEFINITIONS.setdefault(one.name, one) is not one:
            raise ValueError(f'Two metrics are named {one.name}')


__all__ = [
    'COUNTER',
    'DEFINITIONS',
    'GAUGE',
    'HISTOGRAM',
    'INFO',
    'OVERFLOW_LABEL',
    'MetricDefinition',
    'register_kind_metrics',
]
