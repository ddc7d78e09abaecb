"""One connection to a peer: a call at a time goes out, its answer comes in, and the next may follow."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.plugins.http.client.call import HttpResponse
from zatotx.plugins.http.client.errors import BadResponse, CallFailed, PeerReset, TooLarge
from zatotx.plugins.http.client.pending_call import CallEnvironment, PendingCall
from zatotx.plugins.http.client.request_writer import RequestWriter
from zatotx.plugins.http.client.response_reader import ResponseReader
from zatotx.plugins.http.client.tls import late_handshake_error
from zatotx.plugins.http.server.buffered_writer import READ, enlarge_reads
from zatotx.wire.http1.response_parser import MessageRejected

if TYPE_CHECKING:
    from zatotx.plugins.http.client.pool import ConnectionPool

FAREWELL = 5.0  # seconds in which a connection that we close may take its leave, as TLS does


@implementer(IProtocol)
class ClientConnection:
    """`call` is under way on it. `idle_since` is when its last one ended, in seconds of the reactor's clock."""

    __slots__ = ('_answering', '_ended', '_placed', '_pool', '_shared', '_used', 'asking', 'call', 'due', 'idle_since',
                 'transport')  # fmt: skip

    def __init__(self, pool: ConnectionPool, shared: CallEnvironment) -> None:
        self._pool = pool
        self._shared = shared
        self._answering = ResponseReader(shared, self)
        self._placed = False  # it has a place of the pool
        self._ended = False
        self._used = False
        self.call: PendingCall | None = None
        self.idle_since = 0.0
        self.due = inf

    # Twisted's side.

    def makeConnection(self, transport: Any) -> None:
        """Begin."""
        self.transport = transport
        if isinstance(transport.getPeer(), IPv4Address | IPv6Address):
            transport.setTcpNoDelay(True)
        self.asking = RequestWriter(self._shared, transport, self.fail)

    def connectionMade(self) -> None:
        """A part of `makeConnection`."""

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the peer."""
        if len(data) == READ:
            enlarge_reads(self.transport)
        call = self.call
        if call is None or self.asking.holds(call.data):
            # Whatever they are, the next answer on this connection could not be believed.
            self._lose(call, BadResponse('bytes came before the request went out'))
            return
        try:
            self._answering.take(call, data)
        except MessageRejected as refused:
            self.fail(BadResponse(refused.reason))
        except TooLarge as error:
            self.fail(error)

    def connectionLost(self, reason: Failure) -> None:
        """It is over, by whoever's will."""
        self._shared.deadlines.forget(self)
        self._ended = True
        call = self.call
        if call is None:
            self._leave()
        elif reason.check(ConnectionDone) is None or not self._answering.ended(call):
            self._lose(call, _loss(reason, self._pool.origin.host, begun=self._answering.begun))

    # The pool's side.

    def take_place(self) -> bool:
        """From now on a place of the pool is taken by this connection; False where it is over already."""
        self._placed = not self._ended
        return self._placed

    def start(self, call: PendingCall, now: float) -> None:
        """Send a call."""
        self.call = call
        call.connection = self
        self._answering.parser.expect(call.outbound.method)
        self.asking.start(call, now)

    def drop(self) -> None:
        """End it now: its call is over without it, or it is of no use."""
        self.call = None
        self._abort()

    def close(self) -> None:
        """Take leave in good order: nothing is under way."""
        self._leave()
        if not self._ended:
            self.due = self._shared.seconds() + FAREWELL
            self._shared.deadlines.watch(self)
            self.asking.leave()

    def expire(self, now: float) -> None:
        """The peer does not let us go."""
        self._shared.deadlines.forget(self)
        self.transport.abortConnection()

    # How a call ends.

    def finish(self, call: PendingCall, answer: HttpResponse | None, now: float) -> None:
        """Its answer is whole (None: it was streamed). The connection goes back before the caller hears of it, who may
        call again at once."""
        self.call = call.connection = None
        self._used = True
        answering = self._answering
        if self.asking.unfinished:
            self._abort()
        elif answering.parser.clean:
            if answering.paused:
                answering.resume()
            self._pool.release(self, now)
        else:
            self.close()
        if answer is None:
            call.finish()
        else:
            call.answer(answer)

    def fail(self, error: CallFailed) -> None:
        """There is no answer, or no more of it, and nothing can follow."""
        call, self.call = self.call, None
        self._abort()
        if call is not None:
            call.connection = None
            call.fail(error)

    def _lose(self, call: PendingCall | None, error: CallFailed) -> None:
        """The connection is of no use any more. A call that may be sent twice goes out on another."""
        if call is None:
            self._abort()
            return
        call.note_reached()
        if not self._answering.begun and (self._used or not call.reached) and call.renewable:
            self._abort(renewed=call)
        else:
            error.reached = error.reached and call.reached
            self.fail(error)

    def _abort(self, renewed: PendingCall | None = None) -> None:
        """End the connection now. What of the request was not sent is not sent. `renewed`: a call that is tried again
        on a new connection, which takes the place of this one."""
        if renewed is not None:
            self.call = renewed.connection = None
        self.asking.abandon()
        self.transport.abortConnection()
        self._leave(renewed)

    def _leave(self, renewed: PendingCall | None = None) -> None:
        """The place in the pool is free from now on, however long the connection takes to end."""
        if self._placed:
            self._placed = False
            if renewed is None:
                self._pool.lost(self)
            else:
                self._pool.renew(renewed)


def _loss(reason: Failure, host: str, *, begun: bool) -> CallFailed:
    """What the end of a connection means to its call."""
    if begun:
        error: CallFailed = PeerReset('the connection was lost within the answer', begun=True)
    else:
        closed = PeerReset('the peer closed the connection without an answer')
        error = late_handshake_error(reason.value, host) or closed
    error.__cause__ = reason.value
    return error
