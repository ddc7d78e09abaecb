"""The exceptions of the FTP client. Each message is a clause. The connection adds its name, and the message contains no
addresses, user names or passwords.
"""

from __future__ import annotations

from zatotx.plugins.ftp.wire import FtpReply

MAX_SHOWN = 200  # characters of a reply in messages


class FtpFailed(Exception):  # noqa: N818 - what happened, not an error of ours
    """Base class of FTP errors. `is_before_operation` says whether the error occurred while the connection was opened,
    so that the server has not received the operation."""

    is_before_operation = False


class Unreachable(FtpFailed):
    """The server cannot be reached, closed the connection, or has a TLS certificate that is not accepted."""


class ConnectionClosed(Unreachable):
    """The server closed the control connection. `is_stale` says whether the server closed an idle connection before it
    replied to the first command of an operation. In this case the operation can be repeated on another connection."""

    is_stale = False


class LoginRejected(FtpFailed):
    """The server rejected the user name or password."""


class TransferFailed(FtpFailed):
    """A transfer ended before it was complete, or the size of the file is wrong."""


class FileTooLarge(FtpFailed):
    """A file or directory listing exceeds the size that can be kept in memory."""


class CommandRejected(FtpFailed):
    """The server rejected a command. `path` is the path in the command, and `is_absent` says whether the path does not
    exist."""

    def __init__(self, reply: FtpReply, path: str = '', *, is_absent: bool = False) -> None:
        super().__init__(str(reply)[:MAX_SHOWN])
        self.reply = reply
        self.path = path
        self.is_absent = is_absent

    @property
    def is_storage_full(self) -> bool:
        """Whether there is no space left, or the quota of the account is used up (452, 552)."""
        return self.reply.code in (452, 552)
