"""Creates the delivery policy of a channel from its configuration (zatotx.schema.delivery_fields.MessageChannelBase).

A kind derives the Struct of its channels from MessageChannelBase, and makes the MessageDelivery of a channel here.
"""

from __future__ import annotations

from hashlib import sha256

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import implementer

from zatotx.connectors.inbound_delivery import MessageDelivery
from zatotx.connectors.rate_limited_event_log import RateLimitedEventLog
from zatotx.interfaces.connector_kind import ChannelContext
from zatotx.interfaces.dead_letters import IDeadLetterStore
from zatotx.interfaces.inbound_delivery import DeadLetter, IDeadLetterSink
from zatotx.interfaces.pipeline import IDispatcher
from zatotx.model.message import Message
from zatotx.model.work_message import ValueMessage, WorkMessage
from zatotx.rules.resilience.idempotency_key import MESSAGE
from zatotx.rules.resilience.inbound_retry import InboundRetryPolicy
from zatotx.schema.delivery_fields import DeliveryRetry, MessageChannelBase
from zatotx.schema.placement_fields import PlacedChannelBase

_ID_DIGITS = 32


def make_policy_delivery(
    events: RateLimitedEventLog, context: ChannelContext, dispatcher: IDispatcher, keys: MessageChannelBase
) -> MessageDelivery:
    """Return the delivery for a channel whose configuration has the fields of a delivery policy. `events` is the event
    log of the channel."""
    idempotent = keys.idempotent
    return MessageDelivery(
        title=events.title,
        events=events,
        dispatcher=dispatcher,
        clock=context.reactor,
        policy=to_retry_policy(keys.retry),
        dead_letters=context.dead_letters if keys.dead_letter else None,
        processed_keys=None if idempotent is None else context.processed_keys,
        key=MESSAGE if idempotent is None else idempotent.key,
        key_ttl=86_400.0 if idempotent is None else idempotent.ttl,
        waits_for_capacity=isinstance(keys, PlacedChannelBase),
    )


def to_retry_policy(retry: DeliveryRetry | None) -> InboundRetryPolicy:
    """Convert the retry settings of a channel to a retry policy. None stands for a single attempt."""
    if retry is None:
        return InboundRetryPolicy()
    return InboundRetryPolicy(attempts=retry.attempts, backoff=retry.backoff, max_delay=retry.max_delay)


@implementer(IDeadLetterSink)
@frozen
class StoredDeadLetters:
    """Implements IDeadLetterSink. Stores the messages of channels whose processing failed permanently in the ODB."""

    letters: IDeadLetterStore

    def store(self, letter: DeadLetter) -> Deferred[None]:
        """See IDeadLetterSink."""
        stored: Deferred[None] = self.letters.store_dead_letter(dead_letter_to_work_message(letter))
        return stored


def dead_letter_to_work_message(letter: DeadLetter) -> WorkMessage:
    """Convert a dead letter to a work message with the data format and headers of its channel. When the work message
    runs, the dead letter is processed again."""
    message, history = letter.message, letter.history
    channel = message.channel
    first, last = history.first, history.last
    assert first is not None and last is not None
    payload = message.value if isinstance(message, ValueMessage) else body_as_bytes(message)
    return WorkMessage(
        id=dead_letter_id(letter), cid=message.cid, service=message.service, payload=payload, channel=channel.kind,
        channel_name=channel.name, data_format=channel.data_format, headers=dict(message.headers),
        principal=message.principal, trace=message.trace, attempts=history.attempts, first_failed=first.at,
        last_failed=last.at, cause=last.cause,
    )  # fmt: skip


def dead_letter_id(letter: DeadLetter) -> str:
    """Return the ID of a dead letter. If the peer identifies messages, each delivery of a message has the same ID.
    Otherwise the ID is the correlation ID."""
    if not letter.id:
        return letter.message.cid
    channel = letter.message.channel
    digest = sha256('\0'.join((channel.kind, channel.name, letter.id)).encode('utf-8', 'surrogateescape'))
    return digest.hexdigest()[:_ID_DIGITS]


def body_as_bytes(message: Message) -> bytes:
    """Return the body of a message as bytes."""
    body = message.body
    return body if isinstance(body, bytes) else body.read()
