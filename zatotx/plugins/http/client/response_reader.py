"""The answer's side of a connection: bytes in, and out of them the answer to the call that is under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zatotx.plugins.http.client.call import HttpResponse, ResponseHead
from zatotx.plugins.http.client.pending_call import ANSWERED, ASKED, EXPECTING, CallEnvironment, PendingCall
from zatotx.plugins.http.client.response_body import CollectedBody, StreamedBody, too_large
from zatotx.wire.http1.response_parser import ANSWER_LIMITS, EndOfBody, MessageRejected, ResponseParser

if TYPE_CHECKING:
    from zatotx.plugins.http.client.connection import ClientConnection


class ResponseReader:
    """Reads one answer after the other. `begun`: some of the one that is due has come. `paused`: the peer is made to
    wait."""

    __slots__ = ('_connection', '_receipt', '_shared', 'begun', 'parser', 'paused')

    def __init__(self, shared: CallEnvironment, connection: ClientConnection) -> None:
        self._shared = shared
        self._connection = connection
        self._receipt: CollectedBody | StreamedBody | None = None  # of an answer that is not whole yet
        self.paused = False
        self.begun = False
        self.parser = ResponseParser(ANSWER_LIMITS)

    def take(self, call: PendingCall, data: bytes) -> None:
        """Read what has come for a call. Raises Refused and TooLarge: the connection is of no use any more."""
        self.begun = True
        self.parser.feed(data)
        if self._receipt is None:
            self._begin(call)
        else:
            self._go_on(call, self._receipt)

    def ended(self, call: PendingCall) -> bool:
        """The peer has closed the connection in good order: whether that ends the answer."""
        receipt = self._receipt
        if receipt is None:
            return False
        try:
            end = self.parser.eof()
        except MessageRejected:
            return False
        if end is not None:
            self._end(call, receipt, end)
        return end is not None

    # A stream's side.

    def pause(self) -> None:
        """The reader is slow: the peer waits, and is not to blame for it."""
        if self._receipt is not None and not self.paused:
            self.paused = True
            self._connection.transport.pauseProducing()

    def resume(self) -> None:
        """The reader has caught up, or the answer is over."""
        if self.paused:
            self.paused = False
            self._connection.transport.resumeProducing()
            call = self._connection.call
            if call is not None:
                call.stand(ANSWERED, self._shared.seconds(), call.outbound.timeouts.silence)

    def shut(self) -> None:
        """The reader wants no more."""
        if self._connection.call is not None:
            self._connection.call.give_up()

    # The answer.

    def _begin(self, call: PendingCall) -> None:
        """A head is due."""
        parser = self.parser
        head = parser.next()
        while type(head) is ResponseHead and head.status < 200:
            self._interim(call, head.status)
            if self._connection.call is not call:
                return
            head = parser.next()
        now = self._shared.seconds()
        outbound = call.outbound
        if type(head) is not ResponseHead:
            if call.stage == ASKED and parser.pending:
                call.stand(ANSWERED, now, outbound.timeouts.silence)
            return
        if now >= call.due and call.stage != EXPECTING:  # nobody has looked yet
            call.expire(now)
            if self._connection.call is not call:
                return
        if outbound.stream:
            self._stream(call, head, now)
            return
        if head.length is not None and head.length > outbound.most:
            raise too_large(outbound.most)
        body = parser.take_whole()
        if body is not None:
            self.begun = False
            self._connection.finish(call, HttpResponse(head, body), now)
        else:
            self._receive(call, head, CollectedBody(head, outbound.most), now)

    def _interim(self, call: PendingCall, status: int) -> None:
        """An interim answer has come: the peer is at work."""
        now = self._shared.seconds()
        asking = self._connection.asking
        if not asking.withheld:
            call.stand(ASKED, now, call.outbound.timeouts.first_byte)
        elif status == 100:
            asking.send_body(now)

    def _stream(self, call: PendingCall, head: ResponseHead, now: float) -> None:
        stream = StreamedBody(self)
        self._receive(call, head, stream, now)
        call.begin(HttpResponse(head, stream), stream)

    def _receive(
        self, call: PendingCall, head: ResponseHead, receipt: CollectedBody | StreamedBody, now: float
    ) -> None:
        """The answer is not whole yet. A peer that says no before it has heard all need not hear the rest."""
        self._receipt = receipt
        call.stand(ANSWERED, now, call.outbound.timeouts.silence)
        if head.status >= 400:
            self._connection.asking.stop()
        self._go_on(call, receipt)

    def _go_on(self, call: PendingCall, receipt: CollectedBody | StreamedBody) -> None:
        """More of a body has come."""
        parser = self.parser
        while self._connection.call is call:
            event = parser.next()
            if isinstance(event, bytes):
                receipt.piece(event)
            elif isinstance(event, EndOfBody):
                self._end(call, receipt, event)
            else:
                self._wait(call)
                break

    def _wait(self, call: PendingCall) -> None:
        if self.paused:
            call.stand_still()
        else:
            call.stand(ANSWERED, self._shared.seconds(), call.outbound.timeouts.silence)

    def _end(self, call: PendingCall, receipt: CollectedBody | StreamedBody, end: EndOfBody) -> None:
        self._receipt = None
        self.begun = False
        now = self._shared.seconds()
        if isinstance(receipt, CollectedBody):
            self._connection.finish(call, receipt.end(end.trailers), now)
        else:
            self._connection.finish(call, None, now)
            receipt.end(end.trailers)
