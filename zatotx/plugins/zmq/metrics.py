"""The metrics of the ZeroMQ kind that do not belong to a single channel or connection."""

from __future__ import annotations

from zatotx.interfaces.meters import COUNTER, GAUGE, MetricDefinition

_CHANNEL, _CONNECTION = ('channel',), ('connection',)
DEFINITIONS = (
    MetricDefinition('zatotx_zmq_channel_peers', GAUGE, 'Connected peers of ZeroMQ channels', _CHANNEL),
    MetricDefinition('zatotx_zmq_channel_failed_handshakes', COUNTER,
                     'Connections of ZeroMQ channels that failed: another socket type, other CURVE keys, no ZeroMQ',
                     _CHANNEL),
    MetricDefinition('zatotx_zmq_channel_dropped', COUNTER,
                     'Messages of ZeroMQ channels that were dropped: too large, or without the frames that their '
                     'socket type asks for', _CHANNEL),
    MetricDefinition('zatotx_zmq_channel_lost_replies', COUNTER,
                     'Replies of ZeroMQ channels whose client had gone or took none', _CHANNEL),
    MetricDefinition('zatotx_zmq_in_flight', GAUGE, 'Messages of ZeroMQ channels that are processed now', _CHANNEL),
    MetricDefinition('zatotx_zmq_connection_peers', GAUGE, 'Connected peers of outgoing ZeroMQ connections',
                     _CONNECTION),
    MetricDefinition('zatotx_zmq_connection_failed_handshakes', COUNTER,
                     'Connections of outgoing ZeroMQ connections that failed', _CONNECTION),
    MetricDefinition('zatotx_zmq_queued', GAUGE, 'Messages in the queues of outgoing ZeroMQ connections', _CONNECTION),
    MetricDefinition('zatotx_zmq_dropped', COUNTER,
                     'Messages of outgoing ZeroMQ connections that were dropped: PUB without a subscriber, or a queue '
                     'that was not sent when its connection ended', _CONNECTION),
    MetricDefinition('zatotx_zmq_late_replies', COUNTER,
                     'Replies to outgoing ZeroMQ connections that no call was waiting for', _CONNECTION),
)  # fmt: skip
