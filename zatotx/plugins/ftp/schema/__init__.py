"""The object types of the FTP kind, one per module."""

from __future__ import annotations

from zatotx.plugins.ftp.schema.channel_ftp import CHANNEL_FTP, FtpChannel

OBJECT_TYPES = (CHANNEL_FTP,)

__all__ = ['CHANNEL_FTP', 'OBJECT_TYPES', 'FtpChannel']
