"""Errors of the FTP client. Each describes in one clause what happened, without the name of the outgoing connection,
which the connection adds, and without addresses, user names and passwords."""

from __future__ import annotations

from zatotx.plugins.ftp.wire import FtpReply

MAX_SHOWN = 200  # characters of a reply in messages


class FtpFailed(Exception):  # noqa: N818 - what happened, not an error of ours
    """An operation failed. `is_before_operation`: while its connection was opened, so that the server knows nothing of
    it."""

    is_before_operation = False


class Unreachable(FtpFailed):
    """The server cannot be connected to, or closes the connection, or its TLS certificate is not accepted."""


class ConnectionClosed(Unreachable):
    """The server closed the control connection. `is_stale`: before it replied to the first command of an operation, on
    a connection that was idle: the operation may be repeated on another one."""

    is_stale = False


class LoginRejected(FtpFailed):
    """The server does not accept the account."""


class TransferFailed(FtpFailed):
    """A transfer ended before it was complete, or its size is wrong."""


class FileTooLarge(FtpFailed):
    """A file or listing is larger than may be kept in memory."""


class CommandRejected(FtpFailed):
    """The server rejected a command. `path`: what it concerned; `is_absent`: nothing exists there."""

    def __init__(self, reply: FtpReply, path: str = '', *, is_absent: bool = False) -> None:
        super().__init__(str(reply)[:MAX_SHOWN])
        self.reply = reply
        self.path = path
        self.is_absent = is_absent

    @property
    def is_storage_full(self) -> bool:
        """Whether there is no space left, or the quota of the account is used up (452, 552)."""
        return self.reply.code in (452, 552)
