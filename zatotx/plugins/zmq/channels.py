"""The ZeroMQ channels of a node. The ZeroMQ library is imported when the first channel is configured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred

from zatotx.connectors.channels import ChannelParts, Channels, ChannelType, InboundChannel, configured_nodes
from zatotx.connectors.outgoing_connections import Sources
from zatotx.interfaces.connector_kind import ChannelContext, IChannel
from zatotx.interfaces.meters import MetricRow
from zatotx.plugins.zmq.schema import SUB, ZmqChannel
from zatotx.rules.channel_placement import Placement
from zatotx.schema.snapshot import StoredObject

KIND = 'zmq'
OBJECT_TYPE = 'channel_zmq'
GRACE = 10.0  # seconds that messages under way get to finish


def placement_of(stored: StoredObject) -> Placement:
    """Return the placement of a channel. By default, a SUB channel runs on one node of the cluster, because each
    subscribed node would receive every message. Other channels run on every node."""
    value: ZmqChannel = stored.value
    if value.placement:
        return Placement(value.placement)
    return Placement.ONE_NODE_OF_CLUSTER if value.socket_type == SUB else Placement.EVERY_NODE


class ZmqChannels(Channels):
    """Implements IChannel for ZeroMQ channels."""

    def __init__(self, context: ChannelContext) -> None:
        self._environment: Any = None  # ChannelEnvironment, from the first channel on
        self._grace = float(context.settings.get('grace', GRACE))
        super().__init__(context, [
            ChannelType(object_type=OBJECT_TYPE, kind=KIND, build=self._build_channel, nodes=configured_nodes,
                        placement=placement_of, modules=('zatotx.plugins.zmq.channel',)),
        ])  # fmt: skip

    def stop(self) -> Deferred[None]:
        """See IChannel."""
        stopped = super().stop()
        if self._environment is not None:
            stopped.addCallback(lambda _: self._environment.end())
        return stopped

    def metrics(self) -> Iterator[MetricRow]:
        """The figures of the metrics that the kind declares."""
        return iter(()) if self._environment is None else self._environment.metrics()

    def _build_channel(self, stored: StoredObject, sources: Sources, parts: ChannelParts) -> InboundChannel:
        from zatotx.plugins.zmq import channel

        if self._environment is None:
            self._environment = channel.ChannelEnvironment(parts.context, self._grace)
        return channel.SocketChannel(stored.value, parts, self._environment)


def make_channel(context: ChannelContext) -> IChannel:
    """Create the ZeroMQ channels of a node (ConnectorKind.channel)."""
    made: IChannel = ZmqChannels(context)
    return made
