"""Inbound messages of all protocols: how a channel hands them over, and what is kept of those that fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import define, frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface

from zatotx.model.message import Message, Reply
from zatotx.rules.resilience.delivery import DeliveryHistory


class Nack(Protocol):
    """Tells the peer that a message was not processed. `reply`: the error as the channel's data format writes it, None
    where no service has failed. `requeue`: whether the peer shall deliver the message again."""

    def __call__(self, reply: Reply | None, *, requeue: bool) -> None: ...


@define(kw_only=True, eq=False)  # a frozen class takes three times as long to make
class InboundDelivery:
    """One message as its channel received it, with its own acknowledgment. One of `ack` and `nack` is called, once."""

    make_message: Callable[[], Message]  # a fresh one for each attempt
    ack: Callable[[Reply | None], None]  # processed; the reply is None for a duplicate
    nack: Nack
    key: str = ''  # by which the peer identifies the message, also when it delivers it again; '' = it does not


@frozen(kw_only=True)
class DeadLetter:
    """A message that was given up."""

    message: Message
    history: DeliveryHistory
    id: str = ''  # by which the peer identifies the message; '' = it does not


class IDeadLetterSink(Interface):
    """Keeps the messages that were given up."""

    def store(letter: DeadLetter) -> Deferred[None]:
        """Fires when the message is stored. If it fails, the message is returned to its peer."""


class IProcessedKeys(Interface):
    """Remembers the keys of messages that were processed."""

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
