"""What services are told where a call has no answer: a fault of Zato's names, and a sentence that names the connection.

It goes on to whoever called the service, so it says nothing of hosts and addresses; what the client found out is the
fault's cause, and stands in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zatotx.model.errors import BadGateway, ServiceUnavailable, Timeout
from zatotx.plugins.http.client import errors
from zatotx.plugins.http.client.errors import CallFailed, NotReached


class CircuitOpen(NotReached):
    """The circuit breaker lets nothing through. `wait`: seconds until it may again."""

    def __init__(self, wait: float) -> None:
        super().__init__('it answers with errors')  # else what was wrong before is still known
        self.wait = wait


class BulkheadFull(NotReached):
    """As many calls are under way as the connection may have."""


_LATE = (
    errors.TotalTimeout, errors.FirstByteTimeout, errors.SilenceTimeout, errors.ConnectTimeout, errors.QueueTimeout,
)  # fmt: skip
_CANNOT: Mapping[type[CallFailed], str] = {  # '… cannot be used: …'
    errors.ConnectRefused: 'nobody is at its address',
    errors.NoSuchHost: 'the name of its host has no address',
    errors.TlsFailed: 'TLS could not be agreed on, or a certificate was not accepted',
    errors.ProxyFailed: 'its proxy does not lead to it',
    errors.QueueFull: 'too many calls wait for it already',
    errors.ClientClosed: 'it is being closed',
    errors.PeerReset: 'the connection was lost before the answer was whole',
    CircuitOpen: 'it is cut off by its circuit breaker',
    BulkheadFull: 'as many calls are under way as it may have',
    CallFailed: 'there is no connection to it',
}
_USELESS: Mapping[type[CallFailed], str] = {  # '… gave no usable answer: …'
    errors.BadCoding: 'its body is damaged, or grows too large when it is unpacked',
    errors.BadResponse: 'it is not HTTP',
    errors.TooLarge: 'it is larger than it may be',
    errors.TooManyRedirects: 'it redirects without end',
    errors.BadRedirect: 'it redirects to where calls must not go',
    errors.StreamClosed: 'it was closed before its end',
}
# Not the peer's doing: none of them says that it is not well.
_OURS = (
    errors.QueueTimeout, errors.QueueFull, errors.ClientClosed, errors.BodyFailed, errors.StreamClosed, errors.TooLarge,
    errors.BadRedirect, errors.TooManyRedirects, CircuitOpen, BulkheadFull,
)  # fmt: skip
# What may be mended a moment later. A certificate is not, and a peer that was waited for in vain leaves no time.
_PASSING = (errors.ConnectRefused, errors.NoSuchHost, errors.ConnectTimeout, errors.PeerReset)


def map_error(failed: CallFailed, title: str, cid: str, seconds: float) -> BaseException:
    """The fault that tells of it; where the service's own body broke off, what it raised. `title`: 'Outgoing connection
    CRM (rest)'; `seconds`: how long the call might take."""
    if isinstance(failed, errors.BodyFailed) and failed.__cause__ is not None:
        return failed.__cause__
    if isinstance(failed, _LATE):
        return timeout_error(title, cid, seconds)
    if (useless := _words(failed, _USELESS)) is not None:
        return BadGateway(cid, f'{title} gave no usable answer: {useless}')
    again = int(failed.wait) + 1 if isinstance(failed, CircuitOpen) else 1
    return ServiceUnavailable(cid, f'{title} cannot be used: {_words(failed, _CANNOT)}', again)


def timeout_error(title: str, cid: str, seconds: float) -> Timeout:
    """No answer came in time."""
    return Timeout(cid, f'{title} gave no answer within {round(seconds, 3):g} s')


def is_circuit_failure(failed: CallFailed) -> bool:
    """Whether it says that the peer is not well: for its circuit breaker."""
    return not isinstance(failed, _OURS)


def is_retryable(failed: CallFailed) -> bool:
    """Whether it may be mended by trying once more."""
    return isinstance(failed, _PASSING) or type(failed) is NotReached


def _words(failed: CallFailed, known: Mapping[type[Any], str]) -> str | None:
    return next((known[kind] for kind in type(failed).__mro__ if kind in known), None)
