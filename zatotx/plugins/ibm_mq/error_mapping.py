"""Converts errors of outgoing IBM MQ connections to the exceptions that services receive. The message of each exception
contains the name of the connection.

The message may be passed on to the service's caller, so it contains no hosts and no secrets.
"""

from __future__ import annotations

from zatotx.connectors.blocking_pool import BlockingPoolClosed
from zatotx.connectors.call_policies import CallTimedOut, CircuitOpen
from zatotx.model.errors import BadGateway, BadRequest, ServiceUnavailable, Timeout

from .driver_loading import DriverUnavailable
from .mqi_interfaces import MqiError
from .reason_codes import SendError, explain
from .wire.jms import InvalidMessage


class UnansweredCommit(Exception):  # noqa: N818 - it becomes ServiceUnavailable
    """The connection was lost during the commit of a message, so its outcome is unknown. `reason` is the reason
    code."""

    def __init__(self, error: MqiError) -> None:
        super().__init__(str(error))
        self.error = error


def map_error(error: BaseException, title: str, cid: str, queue: str = '') -> BaseException:
    """Convert an error of an outgoing connection to an exception for the service; other errors are returned
    unchanged."""
    target = f' (queue {queue})' if queue else ''
    if isinstance(error, CallTimedOut):
        return Timeout(cid, f'{title} gave no answer within {round(error.seconds, 3):g} s{target}')
    if isinstance(error, BlockingPoolClosed):
        return ServiceUnavailable(cid, f'{title} is being closed')
    if isinstance(error, CircuitOpen):
        return ServiceUnavailable(cid, f'{title} cannot be used: {error}', int(error.wait) + 1)
    if isinstance(error, InvalidMessage):
        return BadRequest(cid, f'{title}: a message {error}')
    if isinstance(error, DriverUnavailable):
        return ServiceUnavailable(cid, f'{title} cannot be used: it {error}')
    if isinstance(error, UnansweredCommit):
        text = f'{title} did not confirm a message, which may have been sent{target}: it {error}'
        return ServiceUnavailable(cid, text)
    if isinstance(error, MqiError):
        send_error = explain(error.reason).send_error
        if send_error is SendError.TOO_LARGE:
            return BadRequest(cid, f'{title} {error}{target}')
        if send_error is SendError.UNKNOWN_QUEUE:
            return BadGateway(cid, f'{title} {error}{target}')
        return ServiceUnavailable(cid, f'{title} cannot be used: it {error}{target}')
    return error
