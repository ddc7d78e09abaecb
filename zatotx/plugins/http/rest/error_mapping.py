"""Converts errors of the HTTP client to the exceptions that services receive. The message of each exception contains
the name of the connection.

The message may be passed on to the service's caller, so it contains no hosts or addresses; the client's error is the
__cause__, and is logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zatotx.model.errors import BadGateway, ServiceUnavailable, Timeout
from zatotx.plugins.http.client import errors
from zatotx.plugins.http.client.errors import CallFailed, NotReached

_TIMEOUTS = (
    errors.TotalTimeout,
    errors.ResponseStartTimeout,
    errors.ResponseStallTimeout,
    errors.ConnectTimeout,
    errors.QueueTimeout,
)
_BAD_GATEWAY: Mapping[type[CallFailed], str] = {  # '… gave no usable answer: …'
    errors.BadContentCoding: 'its body is damaged, or grows too large when it is unpacked',
    errors.BadResponse: 'it is not HTTP',
    errors.ResponseTooLarge: 'it is larger than it may be',
    errors.TooManyRedirects: 'it redirects without end',
    errors.BadRedirect: 'it redirects to where calls must not go',
    errors.BodyClosedByReader: 'it was closed before its end',
}
# Errors that a retry may solve. An invalid certificate is none, and after a timeout no time is left.
_TRANSIENT = (errors.ConnectRefused, errors.NoSuchHost, errors.ConnectTimeout, errors.PeerReset)


class CircuitOpen(NotReached):
    """The circuit breaker is open and rejects calls. `retry_after` is the number of seconds until it may admit a trial
    call."""

    def __init__(self, wait: float) -> None:
        super().__init__('it answers with errors')  # used only if the error before it is no longer known
        self.retry_after = wait


class BulkheadFull(NotReached):
    """The connection's limit of concurrent calls is reached."""


_UNAVAILABLE: Mapping[type[CallFailed], str] = {  # '… cannot be used: …'
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
# Not caused by the peer: none of them counts as its failure.
_NOT_PEER_ERRORS = (
    errors.QueueTimeout,
    errors.QueueFull,
    errors.ClientClosed,
    errors.RequestBodyFailed,
    errors.BodyClosedByReader,
    errors.ResponseTooLarge,
    errors.BadRedirect,
    errors.TooManyRedirects,
    CircuitOpen,
    BulkheadFull,
)


def map_client_error(failure: CallFailed, title: str, cid: str, timeout: float) -> BaseException:
    """Convert an error of a call to an exception for the service. If the body that the service provided raised an
    error, return that error. `title` is the name of the connection in messages, such as 'Outgoing connection CRM
    (rest)'; `timeout` is the timeout of the call."""
    if isinstance(failure, errors.RequestBodyFailed) and failure.__cause__ is not None:
        return failure.__cause__
    if isinstance(failure, _TIMEOUTS):
        return timeout_error(title, cid, timeout)
    if (reason := _lookup(failure, _BAD_GATEWAY)) is not None:
        return BadGateway(cid, f'{title} gave no usable answer: {reason}')
    retry_after = int(failure.retry_after) + 1 if isinstance(failure, CircuitOpen) else 1
    return ServiceUnavailable(cid, f'{title} cannot be used: {_lookup(failure, _UNAVAILABLE)}', retry_after)


def timeout_error(title: str, cid: str, timeout: float) -> Timeout:
    """Create the error for a call that got no response within the timeout."""
    return Timeout(cid, f'{title} gave no answer within {round(timeout, 3):g} s')


def is_circuit_failure(failure: CallFailed) -> bool:
    """Return whether an error counts as a failure of the peer for the circuit breaker."""
    return not isinstance(failure, _NOT_PEER_ERRORS)


def is_retryable(failure: CallFailed) -> bool:
    """Return whether a retry may succeed after an error."""
    return isinstance(failure, _TRANSIENT) or type(failure) is NotReached


def _lookup(failure: CallFailed, texts: Mapping[type[Any], str]) -> str | None:
    return next((texts[kind] for kind in type(failure).__mro__ if kind in texts), None)
