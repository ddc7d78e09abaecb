"""The metrics of IBM MQ channels, in addition to the delivery meters of the connector layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from zatotx.interfaces.meters import COUNTER, GAUGE, MetricDefinition, MetricRow

DEFINITIONS = (
    MetricDefinition('zatotx_ibm_mq_consumers', GAUGE, 'Consumers that are connected', ('channel',)),
    MetricDefinition('zatotx_ibm_mq_in_flight', GAUGE, 'Messages that are being processed', ('channel',)),
    MetricDefinition('zatotx_ibm_mq_queue_depth', GAUGE, 'Messages on the queue of a channel, as last asked',
                     ('channel',), max),
    MetricDefinition('zatotx_ibm_mq_stuck_threads', GAUGE, 'Threads whose call of the client library does not return'),
    MetricDefinition('zatotx_ibm_mq_stuck_calls', GAUGE, 'Calls of outgoing connections that were given up and do not '
                                                         'return'),
    MetricDefinition('zatotx_ibm_mq_redelivered', COUNTER, 'Messages that had been backed out before'),
    MetricDefinition('zatotx_ibm_mq_backed_out', COUNTER, 'Messages that were backed out'),
    MetricDefinition('zatotx_ibm_mq_rejected', COUNTER, 'Messages that were not processed and kept elsewhere'),
    MetricDefinition('zatotx_ibm_mq_failed_replies', COUNTER, 'Replies that could not be put'),
    MetricDefinition('zatotx_ibm_mq_lost_connections', COUNTER, 'Connections of channels that were lost'),
)


class MqCounters:
    """Counters of IBM MQ channels since the start of the process."""

    def __init__(self) -> None:
        self.redelivered = 0
        self.backed_out = 0
        self.rejected = 0
        self.failed_replies = 0
        self.lost_connections = 0

    def rows(self, stuck: int, channels: Mapping[str, tuple[int, int, int | None]]) -> Iterator[MetricRow]:
        """The figures of now. `channels`: name -> consumers, messages in flight, depth of the queue."""
        for name, (consumers, in_flight, depth) in channels.items():
            yield 'zatotx_ibm_mq_consumers', (name,), consumers
            yield 'zatotx_ibm_mq_in_flight', (name,), in_flight
            if depth is not None:
                yield 'zatotx_ibm_mq_queue_depth', (name,), depth
        yield 'zatotx_ibm_mq_stuck_threads', (), stuck
        yield 'zatotx_ibm_mq_redelivered', (), self.redelivered
        yield 'zatotx_ibm_mq_backed_out', (), self.backed_out
        yield 'zatotx_ibm_mq_rejected', (), self.rejected
        yield 'zatotx_ibm_mq_failed_replies', (), self.failed_replies
        yield 'zatotx_ibm_mq_lost_connections', (), self.lost_connections
