"""The metrics of AMQP channels and connections, in addition to the meters of the connector layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import define, field

from zatotx.interfaces.meters import COUNTER, GAUGE, MetricDefinition, MetricRow

_CHANNEL = ('channel',)


def _largest(one: float, other: float) -> float:
    return max(one, other)


DEFINITIONS = (
    MetricDefinition('zatotx_amqp_redelivered_messages', COUNTER,
                     'Messages of AMQP channels that the broker had delivered before', _CHANNEL),
    MetricDefinition('zatotx_amqp_in_flight_messages', GAUGE,
                     'Messages of AMQP channels that are not settled yet', _CHANNEL),
    MetricDefinition('zatotx_amqp_in_flight_bytes', GAUGE,
                     'Bytes of the messages of AMQP channels that are not settled yet', _CHANNEL),
    MetricDefinition('zatotx_amqp_dead_letters', COUNTER,
                     'Messages of AMQP channels that became dead letters, or were rejected', _CHANNEL),
    MetricDefinition('zatotx_amqp_queue_messages', GAUGE,
                     'Messages that wait in the queue of an AMQP channel, as the broker tells', _CHANNEL, _largest),
    MetricDefinition('zatotx_amqp_unconfirmed_messages', GAUGE,
                     'Messages of outgoing AMQP connections that the broker has not confirmed yet', ('connection',)),
    MetricDefinition('zatotx_amqp_returned_messages', COUNTER,
                     'Messages of outgoing AMQP connections that no queue got', ('connection',)),
    MetricDefinition('zatotx_amqp_blocked', GAUGE,
                     'Whether the broker takes no messages of an outgoing AMQP connection', ('connection',), _largest),
)  # fmt: skip


@define(eq=False)
class QueueCounters:
    """The counters of one AMQP channel. The counters are kept when the configuration of the channel changes."""

    redelivered: int = 0
    in_flight: int = 0
    in_flight_bytes: int = 0
    dead_letters: int = 0
    waiting: int | None = None  # messages in the queue; None = unknown


@define(eq=False)
class ChannelMetrics:
    """The counters of all AMQP channels, by channel name."""

    channels: dict[str, QueueCounters] = field(factory=dict)

    def get(self, name: str) -> QueueCounters:
        """Return the counters of a channel."""
        return self.channels.setdefault(name, QueueCounters())

    def rows(self) -> Iterator[MetricRow]:
        """The figures of now."""
        for name, counters in self.channels.items():
            labels = (name,)
            yield 'zatotx_amqp_redelivered_messages', labels, counters.redelivered
            yield 'zatotx_amqp_in_flight_messages', labels, counters.in_flight
            yield 'zatotx_amqp_in_flight_bytes', labels, counters.in_flight_bytes
            yield 'zatotx_amqp_dead_letters', labels, counters.dead_letters
            if counters.waiting is not None:
                yield 'zatotx_amqp_queue_messages', labels, counters.waiting


@define(eq=False)
class ConnectionCounters:
    """The counters of one outgoing AMQP connection."""

    unconfirmed: int = 0
    returned: int = 0


@define(eq=False)
class ConnectionMetrics:
    """The counters of all outgoing AMQP connections, by connection name."""

    connections: dict[str, ConnectionCounters] = field(factory=dict)

    def get(self, name: str) -> ConnectionCounters:
        """Return the counters of a connection."""
        return self.connections.setdefault(name, ConnectionCounters())

    def rows(self, blocked: Mapping[str, bool]) -> Iterator[MetricRow]:
        """The figures of now. `blocked`: the connections in force, and whether the broker has blocked each."""
        for name, is_blocked in blocked.items():
            counters = self.get(name)
            yield 'zatotx_amqp_unconfirmed_messages', (name,), counters.unconfirmed
            yield 'zatotx_amqp_returned_messages', (name,), counters.returned
            yield 'zatotx_amqp_blocked', (name,), int(is_blocked)
