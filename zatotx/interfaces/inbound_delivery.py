"""Interfaces for delivering inbound messages of all protocols to services, and for storing messages that failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import define, frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface

from zatotx.model.message import Message, Reply
from zatotx.rules.resilience.inbound_retry import DeliveryHistory


class Nack(Protocol):
    """The signature of the callback that rejects a message. It reports to the peer that the message was not processed.
    `reply` is the error, encoded in the channel's data format, or None if no service has failed. `requeue` asks the
    peer to deliver the message again."""

    def __call__(self, reply: Reply | None, *, requeue: bool) -> None: ...


@define(kw_only=True, eq=False)  # a frozen class takes three times as long to make
class InboundDelivery:
    """An inbound message and its acknowledgment. Either `ack` or `nack` is called once."""

    make_message: Callable[[], Message]  # a fresh one for each attempt
    ack: Callable[[Reply | None], None]  # processed; the reply is None for a duplicate
    nack: Nack
    key: str = ''  # by which the peer identifies the message, also when it delivers it again; '' = it does not


@frozen(kw_only=True)
class DeadLetter:
    """An inbound message whose processing failed permanently."""

    message: Message
    history: DeliveryHistory
    id: str = ''  # by which the peer identifies the message; '' = it does not


class IDeadLetterSink(Interface):
    """The interface that stores inbound messages whose processing failed permanently."""

    def store(letter: DeadLetter) -> Deferred[None]:
        """Fires when the message is stored. If it fails, the message is returned to its peer."""


class IIdempotencyKeyStore(Interface):
    """The interface that stores the idempotency keys of processed messages."""

    def claim(key: str) -> Deferred[bool]:
        """Reserve a key while its message is processed. Fires with False where its message was processed: this one is
        a duplicate. Waits while another process works on the same message; if that one dies, the key is free again.
        May be cancelled."""

    def confirm(key: str, ttl: float) -> Deferred[None]:
        """Remember for `ttl` seconds that the message was processed."""

    def note_delivery(key: str, ttl: float) -> Deferred[bool]:
        """Note for `ttl` seconds that the message of a key is given to its service. Fires with whether that was noted
        before: the service may have had the message, whatever came of it."""

    def release(key: str) -> Deferred[None]:
        """Forget a reserved key: its message was not processed and may come again."""
