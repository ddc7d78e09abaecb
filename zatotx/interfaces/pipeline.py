"""Interfaces of the pipeline, which processes the messages of all protocols."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from zope.interface import Attribute, Interface

from zatotx.model.errors import ServiceError
from zatotx.model.message import Message, Principal, Reply, ServiceResult


class IPendingRequest(Interface):
    """A request in progress."""

    def cancel() -> None:
        """Cancel the service because the client disconnected; no reply follows. Idempotent, also after completion."""


class IDispatcher(Interface):
    """Passes messages to services. A channel receives the dispatcher when it starts."""

    def deliver(message: Message, on_reply: Callable[[Reply], None]) -> IPendingRequest:
        """Authenticates, decodes, invokes the service and encodes its result. Calls `on_reply` exactly once unless the
        request is cancelled first, and before returning if nothing had to wait. Never raises."""

    def authenticate(message: Message, on_result: Callable[[Reply | None], None]) -> IPendingRequest:
        """Authenticate by the request head alone, before the body is requested (`Expect: 100-continue`). Calls
        `on_result(None)` to continue (`message.principal` is set), or `on_result(reply)` to reject."""


class NeedsBody:
    """The result of an authentication that can only be completed with the request body."""

    __slots__ = ()


NEEDS_BODY = NeedsBody()


class IAuthenticationPolicy(Interface):
    """Authenticates the callers of a channel."""

    def check(message: Message) -> Principal | Awaitable[Principal | NeedsBody] | NeedsBody:
        """Authenticate by the request head. Returns the principal at once if it is cached, else an awaitable;
        NEEDS_BODY if `check_body` must be called after decoding. An awaitable that has `close` must be closed if it is
        not awaited. Raises Unauthorized, Forbidden or TooManyRequests; ServiceUnavailable if authentication is not
        possible at the moment."""

    def check_body(message: Message) -> Principal | Awaitable[Principal | NeedsBody] | NeedsBody:
        """Authenticate by `inbound.parsed` as well; never returns NEEDS_BODY. Raises the same errors."""


class ICodec(Interface):
    """The codec of one data format, which decodes payloads and encodes responses."""

    check_threshold: int = Attribute('Body size in bytes up to which no check is necessary')

    def check_size(body: bytes) -> None:
        """Raises BadRequest if the body exceeds the limits of a message. Slow for large bodies: call it in a thread."""

    def estimate_memory(body: bytes) -> int:
        """Estimate the bytes of memory that decoding a body larger than `check_threshold` requires, not counting the
        body. Slow for large bodies: call it in a thread."""

    thread_threshold: int = Attribute('Body size in bytes above which decoding runs in a thread')

    reads_stream: bool = Attribute('Whether `decode` reads bodies that are not plain bytes itself, in a thread')

    def decode(message: Message) -> object:
        """Decode a body that is in memory and was checked; return the payload. Sets `inbound.parsed` to further content
        that an authenticator may need. Raises BadRequest if the body is malformed."""

    def encode(result: ServiceResult, message: Message) -> Reply:
        """Encode the result of a service. Raises TypeError for a value that the format cannot represent, ValueError for
        an invalid header field."""

    def encode_error(error: ServiceError, details: str, message: Message) -> Reply:
        """Encode an error in Zato's form for this format. `details`: the text that the caller may see. Never raises."""
