"""The answers of one connection, in the order of its requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.model.message import Reply
from zatotx.plugins.http import framing
from zatotx.plugins.http.access_log import CLIENT_GONE
from zatotx.plugins.http.outlet import SLICE, Outlet
from zatotx.plugins.http.refusals import refusal
from zatotx.plugins.http.site import Site
from zatotx.plugins.http.streaming import Stream, close
from zatotx.plugins.http.turn import Turn
from zatotx.wire.http1_write import CHUNKED, CONTINUE

_ERROR = 'An error has occurred'


class Answers:
    """Holds every turn from its head on, and writes its answer when all before it are out.

    While `corked`, what is written is gathered: requests that came in one read are answered in one write.
    `moved_on` is called when a turn is over, `ended` when an answer went out that was the connection's last, `broken`
    when one broke off.
    """

    __slots__ = ('_broken', '_ended', '_gathered', '_moved_on', '_outlet', '_peer', '_site', 'closed', 'corked',
                 'stream', 'turns')  # fmt: skip

    _log = Logger()

    def __init__(self, site: Site, outlet: Outlet, peer: str, *, moved_on: Callable[[], None],
                 ended: Callable[[], None], broken: Callable[[], None]) -> None:
        self._site = site
        self._outlet = outlet
        self._peer = peer
        self._moved_on = moved_on
        self._ended = ended
        self._broken = broken
        self._gathered: list[bytes] = []
        self.turns: list[Turn] = []
        self.stream: Stream | None = None  # of the first turn, while it goes out
        self.corked = False
        self.closed = False  # nothing more is answered

    def ready(self, turn: Turn) -> None:
        """A turn has its answer."""
        while self.turns and self.stream is None and (reply := self.turns[0].reply) is not None:
            self._send(self.turns[0], reply)

    def go_on(self, turn: Turn) -> None:
        """Ask for the body of this turn's request: at once, or when the answers before it are out."""
        turn.interim = turn is not self.turns[0]
        if not turn.interim:
            self.write(CONTINUE)

    def write(self, data: bytes) -> None:
        """To the client, in the order of calls."""
        if self.corked:
            self._gathered.append(data)
        else:
            self._outlet.write(data)

    def uncork(self) -> None:
        """Write what was gathered."""
        self.corked = False
        gathered = self._gathered
        if gathered:
            self._outlet.write(gathered[0] if len(gathered) == 1 else b''.join(gathered))
            gathered.clear()

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
        stream, self.stream = self.stream, None
        sent = 0
        if stream is not None:
            sent = stream.sent
            stream.cancel()
        for turn in turns:
            turn.abandon()
            self._site.counters.gone += 1
            self._record(turn, CLIENT_GONE, sent)
            sent = 0

    # One answer.

    def _send(self, turn: Turn, reply: Reply) -> None:
        closing = not turn.persist or (self._site.draining and len(self.turns) == 1)
        if reply.stream is not None:
            self._send_stream(turn, reply, reply.stream, closing)
            return
        body = reply.body
        try:
            written = self._head(turn, reply, len(body), closing)
        except ValueError as error:
            self._send(turn, self._instead(turn, error))
            return
        if (turn.head is not None and turn.head.method == 'HEAD') or not framing.has_body(reply.status):
            body = b''
        if len(body) <= SLICE:
            self.write(written + body)
        else:
            self.write(written)
            self.write(body)
        self._over(turn, reply.status, len(body), closing)

    def _send_stream(self, turn: Turn, reply: Reply, source: AsyncIterator[bytes], closing: bool) -> None:
        head, inbound = turn.head, turn.inbound
        assert head is not None and inbound is not None
        chunked = head.version == (1, 1)
        closing = closing or not chunked
        try:
            written = self._head(turn, reply, CHUNKED if chunked else None, closing)
        except ValueError as error:
            _dismiss(source)
            self._send(turn, self._instead(turn, error))
            return
        self.write(written)
        if head.method == 'HEAD' or not framing.has_body(reply.status):
            _dismiss(source)
            self._over(turn, reply.status, 0, closing)
            return
        self.stream = Stream(source, self._outlet, self._site.reactor, inbound.deadline - turn.began)
        self.stream.start(self.write, framed=chunked, ended=partial(self._stream_ended, turn, reply.status, closing))

    def _instead(self, turn: Turn, error: ValueError) -> Reply:
        self._log.error('{cid}: channel {channel!r} has an answer that cannot be sent: {error}', cid=turn.cid,
                        channel=turn.channel, error=error)
        return refusal(500, turn.cid, _ERROR)

    def _stream_ended(self, turn: Turn, status: int, closing: bool, failure: Failure | None) -> None:
        stream, self.stream = self.stream, None
        if stream is None:  # abandoned
            return
        if failure is None:
            self._over(turn, status, stream.sent, closing)
            self.ready(turn)
            return
        self._log.failure('{cid}: channel {channel!r} broke off its streamed answer', failure, cid=turn.cid,
                          channel=turn.channel)
        self.turns.pop(0)
        self._record(turn, status, stream.sent)
        turn.release()
        self._broken()

    def _head(self, turn: Turn, reply: Reply, length: int | None, closing: bool) -> bytes:
        stamps = self._site.stamps
        stamps.refresh(self._site.seconds())
        if closing:
            ending = stamps.answer.close
        elif turn.head is None or turn.head.version == (1, 1):
            ending = stamps.answer.keep
        else:
            ending = stamps.answer.keep_1_0
        return framing.head_of(reply, turn.cid, length, ending)

    def _over(self, turn: Turn, status: int, size: int, closing: bool) -> None:
        turns = self.turns
        turns.pop(0)
        self._site.counters.answers[status // 100] += 1
        self._record(turn, status, size)
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

    def _record(self, turn: Turn, status: int, size: int) -> None:
        site = self._site
        now = site.seconds()
        site.stamps.refresh(now)
        site.log.record(turn, self._peer, now - turn.began, f'{status} {size}')


def _dismiss(source: AsyncIterator[bytes]) -> None:
    """Close a stream that nobody will read. Its own complaints about that interest nobody."""
    Deferred.fromCoroutine(close(source)).addErrback(lambda failure: None)
