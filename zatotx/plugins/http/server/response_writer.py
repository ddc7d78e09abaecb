"""The answers of one connection, in the order of its requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.model.message import Reply
from zatotx.plugins.http.server.access_log import CLIENT_GONE
from zatotx.plugins.http.server.buffered_writer import SLICE, BufferedWriter
from zatotx.plugins.http.server.error_responses import error_response_to
from zatotx.plugins.http.server.request_context import RequestContext
from zatotx.plugins.http.server.response_head import BODILESS, build_response_head
from zatotx.plugins.http.server.response_stream import ResponseStream, discard_stream
from zatotx.plugins.http.server.server_context import ServerContext
from zatotx.wire.http1.response_writer import CHUNKED, CONTINUE, response_head

GATHERED = 256 * 1024  # bytes that a connection gathers in one turn of the reactor, before others get theirs
_PIECE_COST = 4 * 1024  # what a piece counts for beside its bytes: many small answers must not hold the reactor either
_ERROR = 'An error has occurred'


class ResponseWriter:
    """Holds every turn from its head on, and writes its answer when all before it are out.

    While `corked`, what is written is gathered: requests that came in one read are answered in one write. `gathered` is
    what that comes to: from GATHERED on nothing more should be begun in this turn of the reactor.
    `moved_on` is called when a turn is over, or the reactor's next turn has come after that; `ended` when an answer
    went out that was the connection's last, `broken` when one broke off.
    """

    __slots__ = ('_broken', '_continuation', '_ended', '_moved_on', '_outlet', '_peer', '_pieces', '_site', 'closed',
                 'corked', 'gathered', 'stream', 'turns')  # fmt: skip

    _log = Logger()

    def __init__(self, site: ServerContext, outlet: BufferedWriter, peer: str, *, moved_on: Callable[[], None],
                 ended: Callable[[], None], broken: Callable[[], None]) -> None:
        self._site = site
        self._outlet = outlet
        self._peer = peer
        self._moved_on = moved_on
        self._ended = ended
        self._broken = broken
        self._pieces: list[bytes] = []
        self._continuation: IDelayedCall | None = None  # in the reactor's next turn
        self.gathered = 0
        self.turns: list[RequestContext] = []
        self.stream: ResponseStream | None = None  # of the first turn, while it goes out
        self.corked = False
        self.closed = False  # nothing more is answered

    def ready(self, turn: RequestContext) -> None:
        """A turn has its answer."""
        while self.turns and self.stream is None and (reply := self.turns[0].reply) is not None:
            self._send(self.turns[0], reply)

    def go_on(self, turn: RequestContext) -> None:
        """Ask for the body of this turn's request: at once, or when the answers before it are out."""
        turn.interim = turn is not self.turns[0]
        if not turn.interim:
            self.write(CONTINUE)

    def write(self, data: bytes) -> None:
        """To the client, in the order of calls."""
        if self.corked:
            if self._pieces:  # a single piece, as mostly, need not be counted
                self.gathered += len(data) + _PIECE_COST
            self._pieces.append(data)
        else:
            self._outlet.write(data)

    def uncork(self) -> None:
        """Write what was gathered."""
        self.corked = False
        pieces = self._pieces
        if pieces:
            self._outlet.write(pieces[0] if len(pieces) == 1 else b''.join(pieces))
            pieces.clear()
            if self.gathered:
                self._give_way()

    def end(self) -> None:
        """Nothing is answered after the turns there are."""
        if self.turns:
            self.turns[-1].persist = False
        else:
            self.closed = True
            if not self.corked:
                self._ended()

    def abandon(self) -> None:
        """The client is gone: cancel what runs, answer nothing more."""
        turns, self.turns, self.closed = self.turns, [], True
        if self._continuation is not None:
            self._continuation.cancel()
            self._continuation = None
        stream, self.stream = self.stream, None
        sent, now = 0, self._site.seconds()
        if stream is not None:
            sent = stream.sent
            stream.cancel()
        for turn in turns:
            turn.abandon()
            if turn.place is not None:
                turn.place.meter.answered(0, now - turn.began)
            self._site.counters.gone += 1
            self._site.log.record(turn, self._peer, now, CLIENT_GONE, sent)
            sent = 0

    def _give_way(self) -> None:
        """Where much was gathered, let other connections have their turn before this one goes on."""
        if self.gathered < GATHERED:
            self.gathered = 0
        elif self._continuation is None:
            self._continuation = self._site.reactor.callLater(0, self._continue)

    def _continue(self) -> None:
        self._continuation = None
        self.gathered = 0
        if not self.closed:
            self._moved_on()

    # One answer.

    def _send(self, turn: RequestContext, reply: Reply) -> None:
        if reply.stream is not None:
            self._send_stream(turn, reply, reply.stream)
            return
        site, status, body = self._site, reply.status, reply.body
        closing = not turn.persist or (site.draining and len(self.turns) == 1)
        now = site.seconds()
        try:
            ending = self._ending(turn, closing, now)
            if status == 200 and not reply.headers:  # as mostly
                written = response_head(200, reply.content_type, len(body), turn.cid, ending)
            else:
                written = build_response_head(reply, turn.cid, len(body), ending)
        except ValueError as error:
            self._send(turn, self._instead(turn, error))
            return
        if status in BODILESS or (turn.head is not None and turn.head.method == 'HEAD'):
            body = b''
        if len(body) <= SLICE:
            self.write(written + body)
        else:
            self.write(written)
            self.write(body)
        self._over(turn, status, len(body), closing=closing, now=now)

    def _send_stream(self, turn: RequestContext, reply: Reply, source: AsyncIterator[bytes]) -> None:
        head, inbound = turn.head, turn.inbound
        assert head is not None and inbound is not None
        site, now = self._site, self._site.seconds()
        chunked = head.version == (1, 1)
        closing = not chunked or not turn.persist or (site.draining and len(self.turns) == 1)
        try:
            written = build_response_head(
                reply, turn.cid, CHUNKED if chunked else None, self._ending(turn, closing, now)
            )
        except ValueError as error:
            discard_stream(source)
            self._send(turn, self._instead(turn, error))
            return
        if head.method == 'HEAD' or reply.status in BODILESS:
            self.write(written)
            discard_stream(source)
            self._over(turn, reply.status, 0, closing=closing, now=now)
            return
        self.stream = ResponseStream(source, self._outlet, site.reactor, inbound.deadline - turn.began, written)
        self.stream.start(self.write, framed=chunked, ended=partial(self._stream_ended, turn, reply.status, closing))

    def _instead(self, turn: RequestContext, error: ValueError) -> Reply:
        self._log.error('{cid}: channel {channel!r} has an answer that cannot be sent: {error}', cid=turn.cid,
                        service=turn.service, channel=turn.channel, error=error)
        return error_response_to(turn, 500, _ERROR)

    def _stream_ended(self, turn: RequestContext, status: int, closing: bool, failure: Failure | None) -> None:
        stream, self.stream = self.stream, None
        if stream is None:  # abandoned
            return
        if failure is None:
            closing = closing or (self._site.draining and len(self.turns) == 1)
            self._over(turn, status, stream.sent, closing=closing, now=self._site.seconds())
            self.ready(turn)
            return
        self._log.failure('{cid}: channel {channel!r} broke off its streamed answer', failure, cid=turn.cid,
                          service=turn.service, channel=turn.channel)
        if stream.head:  # nothing is out yet
            self._send(turn, error_response_to(turn, 500, _ERROR))
            self.ready(turn)
            return
        self.turns.pop(0)
        now = self._site.seconds()
        if turn.place is not None:
            turn.place.meter.answered(status // 100, now - turn.began)
        self._site.log.record(turn, self._peer, now, status, stream.sent)
        turn.release()
        self._broken()

    def _ending(self, turn: RequestContext, closing: bool, now: float) -> bytes:
        """The end of the answer's head, by what its channel puts on it and what becomes of the connection."""
        stamps = self._site.stamps
        if int(now) != stamps.second:
            stamps.refresh(now)
        answer = stamps.answer
        if closing:
            ending = answer.close
        elif turn.head is None or turn.head.version == (1, 1):
            ending = answer.keep
        else:
            ending = answer.keep_1_0
        return turn.lines + ending if turn.lines else ending

    def _over(self, turn: RequestContext, status: int, size: int, *, closing: bool, now: float) -> None:
        site, turns = self._site, self.turns
        turns.pop(0)
        site.counters.answers[status // 100] += 1
        if turn.place is not None:
            turn.place.meter.answered(status // 100, now - turn.began)
        site.log.record(turn, self._peer, now, status, size)
        if turn.body is not None:
            turn.release()
        if closing:
            self.end()
            return
        if turns and turns[0].interim:
            turns[0].interim = False
            self.write(CONTINUE)
        if not self.corked:
            self._moved_on()
