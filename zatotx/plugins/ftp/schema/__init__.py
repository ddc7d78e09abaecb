"""The object types of the FTP kind, one per module."""

from __future__ import annotations

from zatotx.plugins.ftp.schema.channel_ftp import CHANNEL_FTP, FtpChannel
from zatotx.plugins.ftp.schema.channel_ftp_poll import CHANNEL_FTP_POLL
from zatotx.plugins.ftp.schema.outgoing_ftp import OUTGOING_FTP

OBJECT_TYPES = (CHANNEL_FTP, CHANNEL_FTP_POLL, OUTGOING_FTP)

__all__ = ['CHANNEL_FTP', 'CHANNEL_FTP_POLL', 'OBJECT_TYPES', 'OUTGOING_FTP', 'FtpChannel']
