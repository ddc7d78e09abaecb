"""Why a call has no answer. Each says what happened in one sentence, without naming the outgoing connection, whose name
the facade puts before it, and whether the peer may have seen the request: only what never reached it may be sent again
without a thought.
"""

from __future__ import annotations

from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError, TCPTimedOutError, TimeoutError


class CallFailed(Exception):  # noqa: N818 - what happened, not an error of ours
    """A call that has no answer. `reached`: the peer may have got some or all of the request.

    `detail` is a sentence without its full stop, for people; it never holds a header, a body or a password.
    """

    reached = True

    def __init__(self, detail: str, *, reached: bool | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if reached is not None:
            self.reached = reached

    def __str__(self) -> str:
        return self.detail


# Before there was a connection: the peer saw nothing.


class NotReached(CallFailed):
    """There is no connection to the peer."""

    reached = False


class NoSuchHost(NotReached):
    """The name of the host has no address."""


class ConnectRefused(NotReached):
    """Nobody listens at the address, or the network does not lead there."""


class ConnectTimeout(NotReached):
    """The connection, its TLS handshake and the proxy's consent included, was not there in time."""


class TlsFailed(NotReached):
    """TLS could not be agreed on, or the peer is not who it should be."""


class ProxyFailed(NotReached):
    """The proxy would not make a tunnel."""


class QueueTimeout(NotReached):
    """All connections were busy for too long."""


class QueueFull(NotReached):
    """All connections are busy and as many calls as may wait already do."""


class ClientClosed(NotReached):
    """The client is closed: its node ends."""


# On a connection: `reached` is set by whoever raises where it is False.


class FirstByteTimeout(CallFailed):
    """The peer took the request and did not begin to answer in time, or stopped taking the request."""


class SilenceTimeout(CallFailed):
    """The peer stopped in the middle of its answer."""


class TotalTimeout(CallFailed):
    """The whole call took too long, wherever it stood."""


class PeerReset(CallFailed):
    """The connection was lost before the answer was whole. `begun`: some of the answer had come."""

    def __init__(self, detail: str, *, reached: bool | None = None, begun: bool = False) -> None:
        super().__init__(detail, reached=reached)
        self.begun = begun


class BadResponse(CallFailed):
    """The answer is not HTTP/1, or where it ends is in doubt."""


class BadCoding(BadResponse):
    """The body's Content-Encoding is not what the head says, or inflates beyond all reason."""


class TooLarge(CallFailed):
    """The answer's body is longer than the call allows."""


class BodyFailed(CallFailed):
    """The source of the request's body failed; its error is the __cause__."""


class TooManyRedirects(CallFailed):
    """The peer sent us on and on, or round in circles."""


class BadRedirect(CallFailed):
    """The peer sent us to where we do not go: no URL, another scheme, a body in the clear."""


class StreamClosed(CallFailed):
    """The answer's body was closed by its reader before its end."""


def from_twisted(error: BaseException | None) -> CallFailed:
    """What a way to the peer failed with, in our words; the original is the __cause__."""
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
