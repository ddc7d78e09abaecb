"""The exchange as the kinds see it: one way in for every protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from zope.interface import Attribute, Interface

from zatotx.model.message import Inbound, Principal, Reply


class IRun(Interface):
    """One exchange under way."""

    def cancel() -> None:
        """The client went away: cancel the service; nothing more is answered. Idempotent, harmless when over."""


class IExchange(Interface):
    """Given to every channel when it starts."""

    def deliver(inbound: Inbound, answered: Callable[[Reply], None]) -> IRun:
        """Guard, decode, invoke, encode. `answered` is called exactly once unless the run is cancelled first;
        where nothing had to wait it is called before this returns. Never raises."""

    def admit(inbound: Inbound, admitted: Callable[[Reply | None], None]) -> IRun:
        """Check the channel's security by the head alone, before the body is asked for (`Expect: 100-continue`).
        `admitted(None)` = go on (and `inbound.principal` is set); `admitted(reply)` = refuse with it."""


class IGuard(Interface):
    """Decides who may use a channel."""

    def check(inbound: Inbound) -> Principal | Awaitable[Principal]:
        """The principal, at once where it is known, else awaitable. Raises Unauthorized, Forbidden or
        TooManyRequests."""


class ICodec(Interface):
    """One data format: bytes to a payload, a response to bytes."""

    content_type: bytes = Attribute('What an answer in this format is, e.g. b"application/json"')

    weightless: int = Attribute('Bytes of a body up to which it cannot hold too much')

    def weigh(body: bytes) -> None:
        """Raises BadRequest where the body holds more than one message may. Takes time with large ones: for threads."""

    def decode(inbound: Inbound) -> object:
        """The payload of a message whose body is in memory and was weighed. Raises BadRequest where it is not of this
        format."""

    def encode(value: object) -> bytes:
        """The body of an answer. Raises TypeError where the value has no form in this format."""

    def fault(cid: str, status: int, details: str) -> bytes:
        """The body of an error answer in Zato's form for this format."""
