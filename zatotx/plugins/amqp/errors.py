"""What can go wrong between this node and a broker. Each text is a clause without the name of the channel or the
connection, which these add, and without addresses and passwords."""

from __future__ import annotations

NOT_FOUND, ACCESS_REFUSED, RESOURCE_LOCKED, PRECONDITION_FAILED, NOT_ALLOWED = 404, 403, 405, 406, 530
_MAX_SHOWN = 300  # characters of what the broker says


class AmqpFailed(Exception):  # noqa: N818 - what happened, not an error of ours
    """Something that concerns the broker failed. `code`: AMQP's reply code, 0 = there is none."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text[:_MAX_SHOWN])
        self.code = code


class NotConnected(AmqpFailed):
    """There is no connection to the broker: nothing was sent."""


class ConnectionLost(AmqpFailed):
    """The connection to the broker is gone."""


class ChannelClosed(AmqpFailed):
    """The broker closed an AMQP channel, because of what was asked for."""


class PublishRejected(AmqpFailed):
    """The broker did not take a message: it was not sent."""


class MessageReturned(PublishRejected):
    """No queue gets the message: the broker returned it."""


class MessageTooLarge(PublishRejected):
    """The message is larger than the broker takes."""


class OutcomeUnknown(AmqpFailed):
    """The message was sent, and not confirmed: whether the broker has it is unknown."""


def broker_text(reply_code: int, reply_text: str) -> str:
    """Return what a broker says, as it is shown: RabbitMQ's texts begin with the name of the code."""
    return f'{reply_code} {reply_text}' if reply_text else str(reply_code)
