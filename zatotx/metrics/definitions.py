"""The metrics of the broker itself: names, descriptions, labels, and how the figures of several workers become one.

Declared once; kinds declare theirs in the same form, and `register` adds them. The Prometheus text, the sums over the
workers of a node, and the reference page are derived from it.
Names follow https://prometheus.io/docs/practices/naming/: base units, `_total` for counters (added by the text form).
"""

from __future__ import annotations

from collections.abc import Iterable

from zatotx.interfaces.meters import COUNTER, GAUGE, HISTOGRAM, INFO, MetricDefinition
from zatotx.metrics.counters import LATENCY, PAUSES, STALLS

OTHERS = '(others)'  # the label of all that came when a family had its most labels

_SERVICE = ('service',)
_CHANNEL = ('kind', 'channel')
_OUTGOING = ('type', 'connection')
_POOL = ('pool',)
_USER = ('name',)


def _calls(prefix: str, what: str, labels: tuple[str, ...] = ()) -> tuple[MetricDefinition, ...]:
    """The families of what is called, e.g. `what` = 'a service'."""
    return (
        MetricDefinition(f'{prefix}_calls', COUNTER, f'Calls of {what} that ended, errors included', labels),
        MetricDefinition(f'{prefix}_errors', COUNTER, f'Calls of {what} that ended in an error', labels),
        MetricDefinition(
            f'{prefix}_errors_by_kind',
            COUNTER,
            f'Calls of {what} that ended in an error, by the fault: BadRequest,'
            ' Timeout … or Exception for whatever is no fault of zatotx',
            (*labels, 'kind'),
        ),
        MetricDefinition(f'{prefix}_in_flight', GAUGE, f'Calls of {what} under way', labels),
        MetricDefinition(
            f'{prefix}_duration_seconds', HISTOGRAM, f'How long calls of {what} took', labels, bounds=LATENCY
        ),
    )


_ALL = (
    *_calls('zatotx_service', 'a service', _SERVICE),
    MetricDefinition('zatotx_channel_requests', COUNTER, 'Requests or messages that a channel took', _CHANNEL),
    MetricDefinition(
        'zatotx_channel_answers',
        COUNTER,
        'Answers of a channel by class of status: 2xx, 4xx … or gone, where the client left first',
        (*_CHANNEL, 'status'),
    ),
    MetricDefinition('zatotx_channel_in_flight', GAUGE, 'Requests of a channel that are not answered yet', _CHANNEL),
    MetricDefinition(
        'zatotx_channel_duration_seconds',
        HISTOGRAM,
        'From the head of a request until its answer was written',
        _CHANNEL,
        bounds=LATENCY,
    ),
    *_calls('zatotx_outgoing', 'an outgoing connection', _OUTGOING),
    MetricDefinition(
        'zatotx_outgoing_circuit_open',
        GAUGE,
        'Workers in which the circuit breaker of an outgoing connection lets nothing through, or one call to try',
        _OUTGOING,
    ),
    MetricDefinition(
        'zatotx_outgoing_circuit_half_open', GAUGE, 'Of them, those in which that one call is under way', _OUTGOING
    ),
    MetricDefinition(
        'zatotx_outgoing_circuits_opened',
        COUNTER,
        'How often the circuit breaker of an outgoing connection opened',
        _OUTGOING,
    ),
    MetricDefinition(
        'zatotx_outgoing_retries', COUNTER, 'Calls of an outgoing connection that were made once more', _OUTGOING
    ),
    MetricDefinition('zatotx_service_limit', GAUGE, 'Calls of a service that are let in at once', _SERVICE, merge=max),
    MetricDefinition('zatotx_service_refused', COUNTER, 'Calls of a service that were too many at once', _SERVICE),
    MetricDefinition(
        'zatotx_channel_refused',
        COUNTER,
        'Requests of a channel that were too many at once: queue_full found no place (where no queue is asked for,'
        ' none is there), queue_late waited too long',
        (*_CHANNEL, 'reason'),
    ),
    MetricDefinition(
        'zatotx_channel_rate_limited', COUNTER, 'Requests of a channel that were over one of its rate limits', _CHANNEL
    ),
    MetricDefinition(
        'zatotx_rate_limits_unchecked', COUNTER, 'Requests about whose exact rate limits Redis could not be asked'
    ),
    MetricDefinition('zatotx_channel_queue_length', GAUGE, 'Requests of a channel that wait for their turn', _CHANNEL),
    MetricDefinition('zatotx_node_in_flight', GAUGE, 'Requests of this server under way'),
    MetricDefinition('zatotx_node_limit', GAUGE, 'Requests of this server that are let in at once', merge=max),
    MetricDefinition('zatotx_node_refused', COUNTER, 'Requests that were too many at once for this server'),
    MetricDefinition(
        'zatotx_body_memory_bytes', GAUGE, 'Bytes of memory that request bodies take, as they came and parsed'
    ),
    MetricDefinition('zatotx_body_memory_limit_bytes', GAUGE, 'Bytes of memory that request bodies may take'),
    MetricDefinition('zatotx_body_memory_refused', COUNTER, 'Requests that found no memory for their body'),
    MetricDefinition('zatotx_pool_threads', GAUGE, 'Threads a pool may have', _POOL),
    MetricDefinition('zatotx_pool_busy', GAUGE, 'Threads of a pool that do something', _POOL),
    MetricDefinition('zatotx_pool_waiting', GAUGE, 'Jobs that wait for a thread of the pool', _POOL),
    MetricDefinition('zatotx_pool_refused', COUNTER, 'Jobs that found the queue of a pool full', _POOL),
    MetricDefinition('zatotx_threads_stuck', GAUGE, 'Service threads whose service still runs after its deadline'),
    MetricDefinition(
        'zatotx_reactor_stall_seconds', HISTOGRAM, 'How late the reactor came to its timers', bounds=STALLS
    ),
    MetricDefinition(
        'zatotx_gc_pause_seconds', HISTOGRAM, 'How long the garbage collector held everything', bounds=PAUSES
    ),
    MetricDefinition('zatotx_log_lines_lost', COUNTER, 'Log lines that the disk did not take'),
    MetricDefinition('zatotx_config_revision', GAUGE, 'The revision of the configuration in force', merge=min),
    MetricDefinition('zatotx_redis_up', GAUGE, 'Whether Redis answers: 1 or 0', merge=min),
    MetricDefinition(
        'zatotx_redis_connections', COUNTER, 'Connections to Redis that were made, the first one included'
    ),
    *_calls('zatotx_redis', 'Redis'),
    MetricDefinition('zatotx_odb_up', GAUGE, 'Whether the ODB answered when it was asked last: 1 or 0', merge=min),
    MetricDefinition('zatotx_odb_revision', GAUGE, 'The revision of the ODB when it was asked last', merge=max),
    *_calls('zatotx_odb', 'the ODB'),
    MetricDefinition(
        'zatotx_certificate_expiry_timestamp_seconds',
        GAUGE,
        'When the certificate of a TLS listener expires, in seconds since the unix epoch',
        ('listener',),
        merge=min,
    ),
    MetricDefinition('zatotx_build_info', INFO, 'What runs here', ('version', 'python', 'node', 'cluster')),
    MetricDefinition('zatotx_user_counter', COUNTER, 'What services count by self.metrics.incr', _USER),
    MetricDefinition(
        'zatotx_user_gauge',
        GAUGE,
        'What services measure by self.metrics.gauge; of several workers the highest',
        _USER,
        merge=max,
    ),
    MetricDefinition(
        'zatotx_user_timing_seconds', HISTOGRAM, 'What services time by self.metrics.timing', _USER, bounds=LATENCY
    ),
    MetricDefinition(
        'zatotx_metrics_failed', GAUGE, 'Sources of this text that failed: their figures are missing in it'
    ),
    MetricDefinition('zatotx_workers', GAUGE, 'Worker processes whose figures are in this text'),
    # Those of the process, as prometheus_client's collector calls them.
    MetricDefinition('process_virtual_memory_bytes', GAUGE, 'Virtual memory size in bytes'),
    MetricDefinition('process_resident_memory_bytes', GAUGE, 'Resident memory size in bytes'),
    MetricDefinition('process_start_time_seconds', GAUGE, 'Start time since unix epoch in seconds', merge=min),
    MetricDefinition('process_cpu_seconds', COUNTER, 'Total user and system CPU time spent in seconds'),
    MetricDefinition('process_open_fds', GAUGE, 'Number of open file descriptors'),
    MetricDefinition('process_max_fds', GAUGE, 'Maximum number of open file descriptors', merge=min),
)

FAMILIES = {family.name: family for family in _ALL}
assert len(FAMILIES) == len(_ALL)


def register(definitions: Iterable[MetricDefinition]) -> None:
    """Add the metrics of kinds: once for each process that shows metrics. Raises ValueError where two metrics have one
    name."""
    for one in definitions:
        if FAMILIES.setdefault(one.name, one) is not one:
            raise ValueError(f'Two metrics are named {one.name}')


__all__ = ['COUNTER', 'FAMILIES', 'GAUGE', 'HISTOGRAM', 'INFO', 'OTHERS', 'MetricDefinition', 'register']
