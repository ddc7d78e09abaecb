"""Exceptions of outgoing HTTP calls. Each message is one sentence without the name of the outgoing connection. Each
exception says whether the peer may have received the request, because a request can be repeated safely only if it has
not reached the peer.
"""

from __future__ import annotations

from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError, TCPTimedOutError, TimeoutError


class CallFailed(Exception):  # noqa: N818 - what happened, not an error of ours
    """A call failed without a complete response. `reached_peer` says whether the peer may have received part or all of
    the request.

    `detail` is a sentence without its full stop, for people; it never contains a header, a body or a password.
    """

    reached_peer = True

    def __init__(self, detail: str, *, reached_peer: bool | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if reached_peer is not None:
            self.reached_peer = reached_peer

    def __str__(self) -> str:
        return self.detail


# Errors before there is a connection: the peer saw nothing.


class NotReached(CallFailed):
    """No connection to the peer could be opened."""

    reached_peer = False


class NoSuchHost(NotReached):
    """The host name has no IP address."""


class ConnectRefused(NotReached):
    """No process listens at the address, or no route leads to it."""


class ConnectTimeout(NotReached):
    """The connection, including TLS handshake and proxy tunnel, was not established within the timeout."""


class TlsFailed(NotReached):
    """The TLS handshake failed, or the peer's certificate is not valid for the host."""


class ProxyFailed(NotReached):
    """The proxy refused to open a tunnel."""


class QueueTimeout(NotReached):
    """All connections of the pool remained busy until the timeout expired."""


class QueueFull(NotReached):
    """All connections of the pool are busy, and the queue of waiting calls is full."""


class ClientClosed(NotReached):
    """The client is closed, because its node is stopping."""


# Errors on a connection: the raiser sets `reached_peer` where it is False.


class ResponseStartTimeout(CallFailed):
    """The peer did not begin to respond within the timeout, or stopped reading the request."""


class ResponseStallTimeout(CallFailed):
    """The peer stopped sending in the middle of its response."""


class TotalTimeout(CallFailed):
    """The call exceeded its total timeout, in any stage."""


class PeerReset(CallFailed):
    """The connection was lost before the response was complete. `response_started` says whether part of the response
    had arrived."""

    def __init__(self, detail: str, *, reached_peer: bool | None = None, response_started: bool = False) -> None:
        super().__init__(detail, reached_peer=reached_peer)
        self.response_started = response_started


class BadResponse(CallFailed):
    """The response is not valid HTTP/1, or its end cannot be determined."""


class BadContentCoding(BadResponse):
    """The body does not match its Content-Encoding, or exceeds the limits when it is decoded."""


class ResponseTooLarge(CallFailed):
    """The body of the response exceeds the size limit of the call."""


class RequestBodyFailed(CallFailed):
    """The source of the request's body failed. Its error is the __cause__."""


class TooManyRedirects(CallFailed):
    """The call had too many redirects, or a redirect loop."""


class BadRedirect(CallFailed):
    """The peer sent a redirect that must not be followed. Its URL is invalid or has another scheme, or the body would
    be sent over plain HTTP."""


class BodyClosedByReader(CallFailed):
    """The reader closed the response body before the whole body was read."""


def translate_twisted_error(error: BaseException | None) -> CallFailed:
    """Convert an error that Twisted raised while it opened a connection to an exception of this module. The original
    error becomes the __cause__."""
    if isinstance(error, CallFailed):
        return error
    if isinstance(error, DNSLookupError):
        failed: CallFailed = NoSuchHost('the name of the host has no address')
    elif isinstance(error, ConnectionRefusedError):
        failed = ConnectRefused('nobody listens at the address')
    elif isinstance(error, TimeoutError | TCPTimedOutError):
        failed = ConnectTimeout('the peer did not accept a connection')
    elif isinstance(error, ConnectError):
        failed = ConnectRefused('the address cannot be connected to')
    else:
        failed = NotReached(f'there is no connection: {type(error).__name__}')
    failed.__cause__ = error
    return failed
