"""Converts errors of the FTP client to the exceptions that services receive. The message of each exception contains the
name of the connection.

The message may be passed on to the service's caller, so it contains no hosts and no secrets.
"""

from __future__ import annotations

from zatotx.connectors.call_policies import BulkheadFull, CallTimedOut, CircuitOpen
from zatotx.connectors.tls_client import TlsHandshakeFailed
from zatotx.model.errors import (
    BadGateway,
    RemoteFileError,
    RemoteFileNotFound,
    RemoteStorageFull,
    ServiceUnavailable,
    Timeout,
)
from zatotx.plugins.ftp.client.errors import (
    CommandRejected,
    FileTooLarge,
    LoginRejected,
    TransferFailed,
    Unreachable,
)
from zatotx.plugins.ftp.client.progress import NoProgress
from zatotx.plugins.ftp.wire import InvalidReply

# Errors after which the server is not well, or cannot be used as it is configured: they count for the circuit breaker.
PERMANENT = 500  # the first reply code of permanent rejections
PEER_FAILURES = (CallTimedOut, LoginRejected, Unreachable, TlsHandshakeFailed, InvalidReply)


def map_error(error: BaseException, title: str, cid: str, path: str = '') -> BaseException:
    """Convert an error of the FTP client to an exception for the service; other errors are returned unchanged."""
    if isinstance(error, NoProgress):
        return Timeout(cid, f'{title} made no progress for {round(error.seconds, 3):g} s')
    if isinstance(error, CallTimedOut):
        return Timeout(cid, f'{title} gave no answer within {round(error.seconds, 3):g} s')
    if isinstance(error, CommandRejected):
        return _rejected(error, title, cid, error.path or path)
    if isinstance(error, CircuitOpen):
        return ServiceUnavailable(cid, f'{title} cannot be used: {error}', int(error.wait) + 1)
    if isinstance(error, TlsHandshakeFailed):
        return ServiceUnavailable(cid, f'{title} cannot be used: TLS could not be agreed on, or a certificate was not '
                                       'accepted')  # fmt: skip
    if isinstance(error, LoginRejected):
        return ServiceUnavailable(cid, f'{title} cannot be used: the server does not accept the account: {error}')
    if isinstance(error, Unreachable | BulkheadFull):
        return ServiceUnavailable(cid, f'{title} cannot be used: {error}')
    if isinstance(error, TransferFailed | FileTooLarge):
        return RemoteFileError(cid, f'{title}: {path}: {error}', path)
    if isinstance(error, InvalidReply):
        return BadGateway(cid, f'{title} gave no usable answer: {error}')
    return error


def is_final(error: RemoteFileError) -> bool:
    """Return whether the server rejected an operation permanently (reply 5yz of RFC 959), so that a retry is useless. A
    full disk does not count, because it may have space later."""
    cause = error.__cause__
    return isinstance(cause, CommandRejected) and not cause.is_storage_full and cause.reply.code >= PERMANENT


def not_found_error(path: str, title: str, cid: str) -> RemoteFileNotFound:
    """Create the error for a path that does not exist."""
    return RemoteFileNotFound(cid, f'{title}: there is no {path}', path)


def _rejected(error: CommandRejected, title: str, cid: str, path: str) -> BadGateway:
    if error.is_absent:
        return not_found_error(path, title, cid)
    error_class = RemoteStorageFull if error.is_storage_full else RemoteFileError
    where = f'{path}: ' if path else ''
    return error_class(cid, f'{title}: {where}the server rejects it: {error}', path)
