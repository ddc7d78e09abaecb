"""Converts errors of Redis to exceptions of the data model."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import TimeoutError
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost

from zatotx.interfaces.redis import RedisError, RedisNotReady
from zatotx.model.errors import ServiceUnavailable, Timeout

# Error codes of Redis that describe the server's state, not the command.
_STATE_ERRORS = {
    'BUSY': 'it is busy running a script',
    'CLUSTERDOWN': 'its cluster is down',
    'LOADING': 'it is still loading its data',
    'MASTERDOWN': 'it is a replica that lost its master',
    'MISCONF': 'it cannot save to its disk and rejects writes',
    'NOREPLICAS': 'it has fewer replicas than writes require',
    'OOM': 'its memory is full (maxmemory) and it rejects writes',
    'READONLY': 'it is a replica, which rejects writes',
    'TRYAGAIN': 'it is moving its data',
}
_NO_REPLY, _CANNOT_SERVE = 'did not reply', ' cannot serve this now: '


class UnusableServerError(Exception):
    """The Redis server or its settings cannot be used. The message is a clause that follows the text 'Redis at … is
    unavailable: '."""


def make_reply_error(text: str, server: str) -> RedisError | RedisNotReady:
    """Convert an error reply of Redis to an exception. `server` is the name of the server in messages, such as 'Redis
    at …'."""
    code = text.partition(' ')[0]
    if code in _STATE_ERRORS:
        return RedisNotReady(f'{server}{_CANNOT_SERVE}{_STATE_ERRORS[code]} ({text.rstrip(".")})', code)
    return RedisError(text.removeprefix('ERR '))


def make_timeout_error(server: str, command: str, timeout: float) -> Timeout:
    """Create the error for a command that got no reply within `timeout` seconds."""
    return Timeout(None, f'{server} {_NO_REPLY} to {command} within {timeout:g} s')


def make_connection_lost_error(server: str) -> ServiceUnavailable:
    """Create the error for a command whose connection was lost before the reply."""
    return ServiceUnavailable(None, f'{server} was lost before it replied: the command may have been executed')


def disconnect_cause(error: Exception, protocol: Any) -> Exception:
    """Return the cause of the failure of a connection's first command. It is the reason why the connection ended, if
    this reason is known, because it is more specific than the error of the command."""
    if type(error) is ServiceUnavailable and protocol.dropped:
        return UnusableServerError(protocol.dropped)
    if type(error) is ServiceUnavailable and protocol.close_reason is not None:
        return protocol.close_reason.value  # type: ignore[no-any-return]
    return error


def describe_error(error: BaseException, timeout: float) -> str:
    """Return the reason why connecting failed or a connection ended. It is a clause that follows the text 'Redis at …
    is unavailable: '."""
    if isinstance(error, RedisError):
        return f'it rejected the connection: {error}'
    if isinstance(error, TimeoutError):
        return f'it did not reply within {timeout:g} s'
    if isinstance(error, Timeout):
        return f'it {_NO_REPLY}{error.msg.partition(_NO_REPLY)[2]}'
    if isinstance(error, RedisNotReady):
        return error.msg.partition(_CANNOT_SERVE)[2]
    if isinstance(error, ConnectionDone):
        return 'it closed the connection'
    if isinstance(error, ConnectionLost):
        return 'the connection was lost'
    return _tls_clause(error) or _describe(error)


def _describe(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f'{error.filename}: {error.strerror}'
    if isinstance(error, ConnectError) and error.osError:
        return str(error).rstrip('.')
    return str(error).rstrip('.') or type(error).__name__


def _tls_clause(error: BaseException) -> str:
    """Return a clause for errors of TLS, whose own text says little; '' for all others."""
    kind = type(error).__module__.partition('.')[0]
    if kind == 'service_identity':
        return 'its certificate is for another name'
    if kind != 'OpenSSL':
        return ''
    words = str(error)
    if 'certificate verify failed' in words:
        return 'its certificate is not signed by a trusted CA: configure that CA with ca in [kvdb] or ?ca='
    if 'wrong version number' in words or 'packet length too long' in words:
        return 'it does not speak TLS: write redis:// instead of rediss://'
    if ' alert ' in words:  # an alert, sent before the peer disconnects
        return 'it requires a client certificate that it trusts: configure one with cert and key in [kvdb]'
    return f'TLS failed: {words}'
