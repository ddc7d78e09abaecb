"""What goes wrong with Redis, as everybody else knows it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import TimeoutError
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost

from zatotx.interfaces.redis_client import RedisRefused, ResponseError
from zatotx.model.errors import ServiceUnavailable, Timeout

# The first words of Redis's refusals that say something of it, not of the command.
_UNABLE = {
    'BUSY': 'a script keeps it busy',
    'CLUSTERDOWN': 'its cluster is down',
    'LOADING': 'it is still loading its data',
    'MASTERDOWN': 'it is a replica that lost its master',
    'MISCONF': 'it cannot save to its disk and takes no writes',
    'NOREPLICAS': 'it has fewer replicas than a write needs',
    'OOM': 'its memory is full (maxmemory) and it takes no writes',
    'READONLY': 'it is a replica, which takes no writes',
    'TRYAGAIN': 'it moves its data',
}
_LATE, _UNABLE_NOW = 'gave no answer', ' cannot serve this now: '


class UnfitError(Exception):
    """This Redis, or its settings, will not do: a clause that goes on 'Redis at … is away: '."""


def refusal(text: str, where: str) -> ResponseError | RedisRefused:
    """The error for what Redis answered. `where` names it: 'Redis at …'."""
    code = text.partition(' ')[0]
    if code in _UNABLE:
        return RedisRefused(f'{where}{_UNABLE_NOW}{_UNABLE[code]} ({text.rstrip(".")})', code)
    return ResponseError(text.removeprefix('ERR '))


def late(where: str, name: str, timeout: float) -> Timeout:
    """The error of a command that got no answer within `timeout` seconds."""
    return Timeout(None, f'{where} {_LATE} to {name} within {timeout:g} s')


def lost(where: str) -> ServiceUnavailable:
    """The error of a command whose connection ended before the answer."""
    return ServiceUnavailable(None, f'{where} was lost before it answered: the command may have been carried out')


def cause(error: Exception, protocol: Any) -> Exception:
    """Why a first word got no answer: what ended the connection says more than that it ended."""
    if type(error) is ServiceUnavailable and protocol.dropped:
        return UnfitError(protocol.dropped)
    if type(error) is ServiceUnavailable and protocol.why is not None:
        return protocol.why.value  # type: ignore[no-any-return]
    return error


def clause(error: BaseException, timeout: float) -> str:
    """Why a connection could not be made or ended, to go on 'Redis at … is away: '."""
    if isinstance(error, ResponseError):
        return f'it refused the connection: {error}'
    if isinstance(error, TimeoutError):
        return f'it gave no answer within {timeout:g} s'
    if isinstance(error, Timeout):
        return f'it {_LATE}{error.msg.partition(_LATE)[2]}'
    if isinstance(error, RedisRefused):
        return error.msg.partition(_UNABLE_NOW)[2]
    if isinstance(error, ConnectionDone):
        return 'it closed the connection'
    if isinstance(error, ConnectionLost):
        return 'the connection was lost'
    return _tls_clause(error) or _words(error)


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f'{error.filename}: {error.strerror}'
    if isinstance(error, ConnectError) and error.osError:
        return str(error).rstrip('.')
    return str(error).rstrip('.') or type(error).__name__


def _tls_clause(error: BaseException) -> str:
    """For errors of TLS, which say little by themselves; '' for all others."""
    kind = type(error).__module__.partition('.')[0]
    if kind == 'service_identity':
        return 'its certificate is for another name'
    if kind != 'OpenSSL':
        return ''
    words = str(error)
    if 'certificate verify failed' in words:
        return 'its certificate is not signed by a CA that is trusted here: name that CA with ca in [kvdb] or ?ca='
    if 'wrong version number' in words or 'packet length too long' in words:
        return 'it does not speak TLS: write redis:// instead of rediss://'
    if ' alert ' in words:  # what the other side says before it hangs up
        return 'it wants a client certificate that it trusts: name one with cert and key in [kvdb]'
    return f'TLS failed: {words}'
