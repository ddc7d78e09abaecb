"""The exceptions of AMQP connections. Each message is a clause. The caller adds the name of the channel or connection,
and the message contains no addresses or passwords.
"""

from __future__ import annotations

NOT_FOUND, ACCESS_REFUSED, RESOURCE_LOCKED, PRECONDITION_FAILED, NOT_ALLOWED = 404, 403, 405, 406, 530
_MAX_SHOWN = 300  # characters of what the broker says


class AmqpFailed(Exception):  # noqa: N818 - what happened, not an error of ours
    """Base class of AMQP errors. `code` is AMQP's reply code, or 0 if the broker sent none."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text[:_MAX_SHOWN])
        self.code = code


class NotConnected(AmqpFailed):
    """The connection to the broker is not open, so nothing was sent."""


class ConnectionLost(AmqpFailed):
    """The connection to the broker was lost."""


class ChannelClosed(AmqpFailed):
    """The broker closed an AMQP channel because of an invalid request."""


class PublishRejected(AmqpFailed):
    """The broker rejected a message."""


class MessageReturned(PublishRejected):
    """The broker returned a message because it could not route it to any queue."""


class MessageTooLarge(PublishRejected):
    """The message is larger than the broker accepts."""


class OutcomeUnknown(AmqpFailed):
    """The message was sent but not confirmed, so it is unknown whether the broker received it."""


def broker_text(reply_code: int, reply_text: str) -> str:
    """Return a broker's reply code and error text as one text for error messages. RabbitMQ's error texts begin with the
    name of the code."""
    return f'{reply_code} {reply_text}' if reply_text else str(reply_code)
