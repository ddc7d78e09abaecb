"""The exchange as the kinds see it: one way in for every protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from zope.interface import Attribute, Interface

from zatotx.model.errors import ServiceError
from zatotx.model.message import Message, Outcome, Principal, Reply


class IPendingRequest(Interface):
    """One exchange under way."""

    def cancel() -> None:
        """The client went away: cancel the service; nothing more is answered. Idempotent, harmless when over."""


class IDispatcher(Interface):
    """Given to every channel when it starts."""

    def deliver(inbound: Message, answered: Callable[[Reply], None]) -> IPendingRequest:
        """Guard, decode, invoke, encode. `answered` is called exactly once unless the run is cancelled first;
        where nothing had to wait it is called before this returns. Never raises."""

    def admit(inbound: Message, admitted: Callable[[Reply | None], None]) -> IPendingRequest:
        """Check the channel's security by the head alone, before the body is asked for (`Expect: 100-continue`).
        `admitted(None)` = go on (and `inbound.principal` is set); `admitted(reply)` = refuse with it."""


class NeedsBody:
    """What a guard says where only the body tells who is calling."""

    __slots__ = ()


NEEDS_BODY = NeedsBody()


class IAuthenticationPolicy(Interface):
    """Decides who may use a channel."""

    def check(inbound: Message) -> Principal | Awaitable[Principal | NeedsBody] | NeedsBody:
        """The principal by the head, at once where it is known, else awaitable; NEEDS_BODY where `check_body` is to be
        asked once the body was decoded. An awaitable that will not be awaited is to be closed where it has `close`.
        Raises Unauthorized, Forbidden or TooManyRequests; ServiceUnavailable where it cannot be said now."""

    def check_body(inbound: Message) -> Principal | Awaitable[Principal | NeedsBody] | NeedsBody:
        """The principal by what the codec left in `inbound.parsed` too; never NEEDS_BODY. Raises likewise."""


class ICodec(Interface):
    """One data format: bytes to a payload, a response to bytes."""

    weightless: int = Attribute('Bytes of a body up to which it cannot hold too much')

    def weigh(body: bytes) -> None:
        """Raises BadRequest where the body holds more than one message may. Takes time with large ones: for threads."""

    def footprint(body: bytes) -> int:
        """About how many bytes of memory decoding a body takes that is longer than `weightless`, itself not counted.
        Takes time with large ones: for threads."""

    threaded: int = Attribute('Bytes of a body above which it is decoded in a thread')

    piecewise: bool = Attribute('Whether `decode` reads a body that is no bytes by itself, in a thread')

    def decode(inbound: Message) -> object:
        """The payload of a message whose body is in memory and was weighed; what else a check may have to see of it
        becomes `inbound.parsed`. Raises BadRequest where it is not of this format."""

    def answer(outcome: Outcome, inbound: Message) -> Reply:
        """What a service made, as it goes out. Raises TypeError where the value has no form in this format, ValueError
        for an illegal header."""

    def refuse(fault: ServiceError, details: str, inbound: Message) -> Reply:
        """The answer that tells the caller of a fault in Zato's form for this format. `details` is what may be said of
        it. Never raises."""
