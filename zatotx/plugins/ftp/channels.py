"""The FTP channels of a node, which are FTP servers that receive uploads and pollers of remote servers. Their modules
are imported when the first channel is configured.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zatotx.connectors.channels import ChannelParts, Channels, ChannelType, InboundChannel
from zatotx.connectors.outgoing_connections import Sources
from zatotx.interfaces.connector_kind import ChannelContext, IChannel
from zatotx.interfaces.meters import MetricRow
from zatotx.rules.security.login_throttle import LoginThrottle
from zatotx.schema.snapshot import Snapshot, StoredObject

from .metrics import KIND, POLL_KIND, FtpCounters

GRACE = 10.0  # seconds that files under way get to finish


class FtpChannels(Channels):
    """The FTP channels and pollers of a node. Implements the channels of the FTP kind."""

    def __init__(self, context: ChannelContext) -> None:
        self.counters = FtpCounters()
        self._directories: Any = None  # DirectoryRegistry, from the first channel on
        self._throttle = LoginThrottle()
        self._in_progress: set[str] = set()  # ids of files, for all pollers
        self._grace = float(context.settings.get('grace', GRACE))
        super().__init__(context, [
            ChannelType(object_type='channel_ftp', kind=KIND, build=self._build_channel, nodes=_nodes_of,
                        modules=('zatotx.plugins.ftp.channel',)),
            ChannelType(object_type='channel_ftp_poll', kind=POLL_KIND, build=self._build_poller,
                        references=connection_of, modules=('zatotx.plugins.ftp.poller',)),
        ])  # fmt: skip

    def metrics(self) -> Iterator[MetricRow]:
        """The figures of the metrics that the kind declares."""
        return self.counters.rows(0 if self._directories is None else self._directories.waiting_uploads())

    def _build_channel(self, stored: StoredObject, sources: Sources, parts: ChannelParts) -> InboundChannel:
        from .channel import UploadChannel
        from .server.directory_registry import DirectoryRegistry

        if self._directories is None:
            self._directories = DirectoryRegistry(parts.context.reactor, parts.context.run_in_thread)
        return UploadChannel(stored.value, parts, self._directories, self._throttle, self.counters, self._grace)

    def _build_poller(self, stored: StoredObject, sources: Sources, parts: ChannelParts) -> InboundChannel:
        from .poller import build_poller

        return build_poller(stored, sources, parts, self._in_progress)


def connection_of(stored: StoredObject, snapshot: Snapshot) -> Sources:
    """Return the outgoing connection to which a poller refers."""
    return (snapshot.find('outgoing_ftp', stored.value.connection),)


def _nodes_of(stored: StoredObject) -> list[str]:
    nodes: list[str] = stored.value.nodes
    return nodes


def make_channel(context: ChannelContext) -> IChannel:
    """Create the FTP channels and pollers of a node (ConnectorKind.channel)."""
    channel: IChannel = FtpChannels(context)
    return channel
