"""Converts errors of the AMQP client to the exceptions that services receive. The message of each exception contains
the name of the connection.

The message may be passed on to the service's caller, so it contains no hosts and no secrets. Each says whether the
message was sent.
"""

from __future__ import annotations

from zatotx.connectors.call_policies import CallTimedOut, CircuitOpen
from zatotx.model.errors import (
    BadRequest,
    BrokerUnavailable,
    ContentTooLarge,
    DeliveryUnknown,
    MessageNotSent,
    MessageRefused,
    MessageUnroutable,
)
from zatotx.plugins.amqp.errors import (
    NOT_FOUND,
    ChannelClosed,
    ConnectionLost,
    MessageReturned,
    MessageTooLarge,
    NotConnected,
    OutcomeUnknown,
    PublishRejected,
)

# Errors after which the broker is not well, or cannot be used as it is configured: they count for the circuit breaker.
PEER_FAILURES = (NotConnected, ConnectionLost, OutcomeUnknown, CallTimedOut)
# Errors after which the same message may succeed: it was not sent.
REPEATABLE = (NotConnected, ConnectionLost)


def map_error(error: Exception, title: str, cid: str) -> Exception:
    """Convert an error of the AMQP client to an exception for the service; other errors are returned unchanged."""
    if isinstance(error, OutcomeUnknown):
        return DeliveryUnknown(cid, f'{title}: whether the message arrived is unknown: {error}')
    if isinstance(error, CallTimedOut):
        return MessageNotSent(cid, f'{title}: the message was not sent within {round(error.seconds, 3):g} s')
    if isinstance(error, MessageTooLarge):
        return ContentTooLarge(cid, f'{title}: the message was not sent: {error}')
    if isinstance(error, MessageReturned):
        return MessageUnroutable(cid, f'{title}: the message was not sent: {error}')
    if isinstance(error, ChannelClosed):
        what = 'its exchange does not exist: ' if error.code == NOT_FOUND else ''
        return MessageRefused(cid, f'{title}: the message was not sent: {what}{error}')
    if isinstance(error, PublishRejected):
        return MessageRefused(cid, f'{title}: the message was not sent: {error}')
    if isinstance(error, NotConnected | ConnectionLost):
        return BrokerUnavailable(cid, f'{title} cannot be used, the message was not sent: {error}')
    if isinstance(error, CircuitOpen):
        return BrokerUnavailable(cid, f'{title} cannot be used, the message was not sent: {error}', int(error.wait) + 1)
    if isinstance(error, ValueError):
        return BadRequest(cid, f'{title}: the message cannot be sent: {error}')
    return error
