"""The metrics of the FTP kind, in addition to the delivery meters of the connector layer."""

from __future__ import annotations

from collections.abc import Iterator

from zatotx.interfaces.meters import COUNTER, GAUGE, MetricDefinition, MetricRow

KIND, POLL_KIND = 'ftp', 'ftp-poll'  # what messages and metrics call channels, and pollers
DEFINITIONS = (
    MetricDefinition('zatotx_ftp_connections', GAUGE, 'Clients of FTP channels that are connected'),
    MetricDefinition('zatotx_ftp_refused_connections', COUNTER, 'Clients of FTP channels that got 421 at a limit'),
    MetricDefinition('zatotx_ftp_failed_logins', COUNTER, 'Logins to FTP channels with a wrong user or password'),
    MetricDefinition('zatotx_ftp_uploads', COUNTER, 'Uploads to FTP channels that were complete'),
    MetricDefinition('zatotx_ftp_cut_uploads', COUNTER, 'Uploads to FTP channels that were cut, aborted or failed'),
    MetricDefinition('zatotx_ftp_received_bytes', COUNTER, 'Bytes of uploads to FTP channels'),
    MetricDefinition('zatotx_ftp_waiting_uploads', GAUGE, 'Complete uploads that are not moved to processed or failed'),
)


class FtpCounters:
    """Counters of the FTP kind since the start of the process."""

    def __init__(self) -> None:
        self.connections = 0
        self.refused_connections = 0
        self.failed_logins = 0
        self.uploads = 0
        self.cut_uploads = 0
        self.received_bytes = 0

    def rows(self, waiting_uploads: int) -> Iterator[MetricRow]:
        """The figures of now."""
        yield 'zatotx_ftp_connections', (), self.connections
        yield 'zatotx_ftp_refused_connections', (), self.refused_connections
        yield 'zatotx_ftp_failed_logins', (), self.failed_logins
        yield 'zatotx_ftp_uploads', (), self.uploads
        yield 'zatotx_ftp_cut_uploads', (), self.cut_uploads
        yield 'zatotx_ftp_received_bytes', (), self.received_bytes
        yield 'zatotx_ftp_waiting_uploads', (), waiting_uploads
