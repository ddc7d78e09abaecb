"""The requests of one connection, one after the other: from the parser's events to the exchange."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf

from twisted.logger import Logger

from zatotx.model.cid import new_cid
from zatotx.model.message import ANONYMOUS, Message, Reply
from zatotx.plugins.http.server import error_responses
from zatotx.plugins.http.server.buffered_writer import BufferedWriter
from zatotx.plugins.http.server.client_info import ClientInfo
from zatotx.plugins.http.server.content_encoding import decode_body
from zatotx.plugins.http.server.error_responses import error_response, error_response_to
from zatotx.plugins.http.server.request_body import BodyCollector, Held, SpooledBody
from zatotx.plugins.http.server.request_context import SAFE, RequestContext
from zatotx.plugins.http.server.request_router import ResolvedRequest
from zatotx.plugins.http.server.response_writer import GATHERED, ResponseWriter
from zatotx.plugins.http.server.server_context import ServerContext
from zatotx.rules.limits.byte_budget import NO_MEMORY, UNCOUNTED, UNKNOWN, BytesCharge
from zatotx.wire.http1.request_parser import MessageRejected, RequestHead, RequestParser

MOST_TURNS = 16  # requests of one connection that may be under way at once
_SKIPPED = 64 * 1024  # of a refused request's body: a larger one costs the connection
_SLOWEST = 1024  # bytes a second that a body must keep up on average, once it has had its time

HEAD, BODY, SKIP, INPUT_CLOSED = range(4)


class RequestReader:
    """Pulls requests from the parser as long as nothing must be waited for.

    `phase`: HEAD = between requests or inside a head; BODY = inside the body of the last turn; SKIP = inside the body
    of a request that is answered already; DEAF = no request follows. `resumed` is called when pulling may go on.
    """

    __slots__ = ('_answers', '_began', '_client', '_held', '_intake', '_locate', '_outlet', '_paused', '_piece',
                 '_place', '_resumed', '_site', '_small', '_spool_above', '_turn', 'count', 'cut', 'parser',
                 'phase')  # fmt: skip

    _log = Logger()

    def __init__(self, site: ServerContext, answers: ResponseWriter, outlet: BufferedWriter, client: ClientInfo,
                 resumed: Callable[[], None]) -> None:
        self._site = site
        self._spool_above = min(site.settings.spool_above, site.settings.max_body)
        self._small = min(UNCOUNTED, self._spool_above)  # bytes of a body that stays in memory and is not charged
        self._answers = answers
        self._outlet = outlet
        self._client = client
        self._locate = site.locator(client)
        self._resumed = resumed
        self.parser = RequestParser(site.limits)
        self.phase = HEAD
        self.count = 0  # requests that were begun
        self._place: ResolvedRequest | None = None  # of the last request
        self._held: RequestHead | None = None  # may not run beside the requests before it
        self._turn: RequestContext | None = None  # whose body is coming in
        self._piece: bytes | None = None  # the body while it is one piece
        self._intake: BodyCollector | None = None  # the body when it is more
        self._began = 0.0  # when the body under way began
        self._paused: float | None = None  # when `waiting` began
        self.cut = False  # the client may still be sending what nobody will read

    @property
    def waiting(self) -> bool:
        """Whether it is admission or a file that is waited for, not the client."""
        return self._paused is not None

    @property
    def held_up(self) -> bool:
        """Whether what has come in must wait."""
        if self.phase == HEAD:
            return (self._held is not None or len(self._answers.turns) >= MOST_TURNS or self._outlet.behind
                    or self._answers.gathered >= GATHERED)  # fmt: skip
        return self._paused is not None or self.phase == INPUT_CLOSED

    @property
    def ended(self) -> bool:
        """Whether the client is done with what it began to send."""
        return not self.cut and self._held is None and (self.parser.over or self.parser.idle)

    @property
    def quiet(self) -> bool:
        """Whether every request that came has its answer, and nothing of a next one is here."""
        return self.phase == HEAD and self._held is None and not self._answers.turns and self.parser.idle

    def pull(self, now: float) -> None:
        """Serve what the parser has."""
        if self._held is not None and not self._answers.turns:
            head, self._held = self._held, None
            self._begin(head, now)
        parser = self.parser
        following = parser.next
        going = not self.held_up
        try:
            while going:
                event = following()
                if event is None:
                    return
                if type(event) is RequestHead:
                    going = self._begin(event, now)
                    if going and self.phase == BODY and (body := parser.take_whole()) is not None:
                        self._deliver(body, now)
                        going = parser.pending > 0 and not self.held_up
                elif type(event) is bytes:
                    going = self._take(event, now)
                else:
                    going = self._end(now) and parser.pending > 0
        except MessageRejected as refused:
            self.break_off(refused.status, refused.reason, now, refused.request_line)

    def break_off(self, status: int, why: str, now: float, request_line: bytes = b'') -> None:
        """Answer the request under way, or the bytes that are none, with `status`, and take nothing more."""
        phase, self.phase, self.cut = self.phase, INPUT_CLOSED, True
        self._site.counters.refused += 1
        turn, self._turn = self._turn, None
        self._drop_body()
        if phase == BODY and turn is not None:
            turn.persist = False
            turn.answered(error_response_to(turn, status, why))
        elif phase == HEAD:
            turn = RequestContext(None, now, self._answers.ready)
            turn.cid = new_cid()
            turn.request_line = request_line
            self._site.counters.requests += 1
            self._answers.turns.append(turn)
            turn.answered(error_response(status, turn.cid, why))
        else:  # it has been answered: only the connection is left to end
            self._answers.end()

    def deafen(self) -> None:
        """Take nothing more."""
        self.phase = INPUT_CLOSED
        self._held = self._turn = None
        self._drop_body()

    def forget(self) -> None:
        """Keep nothing of the last request."""
        self._place = None
        self.parser.forget()

    # One request.

    # Each step says whether the next one may follow.

    def _begin(self, head: RequestHead, now: float) -> bool:
        turns = self._answers.turns
        if turns and (head.method not in SAFE or not turns[-1].safe):
            self._held = head
            return False
        site = self._site
        site.counters.requests += 1
        self.count += 1
        turn = RequestContext(head, now, self._answers.ready)
        turns.append(turn)
        self._began = now
        place = self._place = self._locate(head, self._client, self._place)
        refused = site.reception.receive(turn, place)
        if refused is not None:
            return self._refuse(turn, head, refused)
        self._turn = turn
        self.phase = BODY
        length = head.length
        if length != 0 and (head.expects or (length is not None and length > self._small
                                             and length > site.memory.spool_above(self._spool_above))):
            return self._ask(turn, now)
        return True

    def _ask(self, turn: RequestContext, now: float) -> bool:
        """Have the exchange look at the head before the body is asked for, or more of it is taken."""
        inbound, place = turn.inbound, turn.place
        assert inbound is not None and place is not None
        self._paused = now
        inbound.deadline = now + place.allowed
        turn.run = self._site.exchange.admit(inbound, partial(self._admitted, turn))
        return not self.held_up

    def _admitted(self, turn: RequestContext, refused: Reply | None) -> None:
        now = self._go_on()
        head, intake = turn.head, self._intake
        assert head is not None
        if refused is not None:
            self._turn = None
            self._drop_body()
            self._refuse(turn, head, refused)
        elif intake is not None:
            assert turn.inbound is not None
            _know(turn.inbound, intake.charge)
            intake.allow()
            if intake.busy:
                self._paused = now
        elif head.expects:
            self._answers.go_on(turn)
        self._resumed()

    def _refuse(self, turn: RequestContext, head: RequestHead, reply: Reply) -> bool:
        """Answer by the head alone. The body is skipped where it is short and on its way, else the connection ends."""
        length = head.length
        if head.expects or length is None or length > _SKIPPED:
            turn.persist = False
            self.phase = INPUT_CLOSED
            self.cut = True
        else:
            self.phase = SKIP
        turn.answered(reply)
        return self.phase == SKIP

    def _take(self, piece: bytes, now: float) -> bool:
        intake, turn = self._intake, self._turn
        if intake is None:
            if turn is None:  # it is skipped
                return True
            if self._piece is None and len(piece) <= self._small:
                self._piece = piece
                return True
            site = self._site
            intake = self._intake = BodyCollector(site.offload, site.memory, work_dir=site.work_dir, ready=self._stored,
                                           spool_above=self._spool_above, allowed=turn.run is not None)  # fmt: skip
            if turn.inbound is not None:
                _know(turn.inbound, intake.charge)
            if self._piece is not None:
                intake.add(self._piece)
                self._piece = None
        intake.add(piece)
        limit = self._site.settings.max_body
        if intake.full:
            self.break_off(503, NO_MEMORY, now)
        elif intake.size > limit:
            self.break_off(413, error_responses.TOO_MUCH.format(limit=limit), now)
        elif turn is not None and intake.asks:  # its length was not known before
            return self._ask(turn, now)
        elif intake.busy:
            self._paused = now
        return not self.held_up

    def _end(self, now: float) -> bool:
        intake = self._intake
        if self.phase == SKIP:
            self.phase = INPUT_CLOSED if self.parser.over else HEAD
        elif intake is None:
            piece, self._piece = self._piece or b'', None
            self._deliver(piece, now)
        else:
            intake.end()
            if intake.busy:
                self._paused = now
            else:
                self._deliver(intake.body(), now)
        return not self.held_up

    def _deliver(self, body: bytes | SpooledBody, now: float) -> None:
        turn, self._turn = self._turn, None
        intake, self._intake = self._intake, None
        assert turn is not None and turn.inbound is not None and turn.place is not None
        self.phase = INPUT_CLOSED if self.parser.over else HEAD
        inbound = turn.inbound
        inbound.deadline = now + turn.place.allowed  # the time the client took to send is its own
        charge: BytesCharge | None = None
        if intake is not None:
            charge = intake.charge
        elif len(body) > UNCOUNTED or (body and b'content-encoding' in inbound.headers):  # type: ignore[arg-type]  # bytes
            charge = BytesCharge(self._site.memory, UNKNOWN)
        if charge is None:
            inbound.body = body
        elif not _charged(turn, inbound, body, charge):
            self._site.counters.refused += 1
            turn.answered(error_response_to(turn, 503, NO_MEMORY))
            return
        elif b'content-encoding' in inbound.headers:
            inbound.body = decode_body(body, inbound.headers[b'content-encoding'], self._site.settings)
        turn.run = self._site.exchange.deliver(inbound, turn.answered)
        if charge is not None:
            _know(inbound, charge)

    # Waiting that is not the client's fault.

    def _stored(self) -> None:
        intake = self._intake
        assert intake is not None
        now = self._go_on()
        if intake.failure is not None:
            self._log.failure('A request body cannot be spooled to {directory}', intake.failure,
                              directory=self._site.work_dir)
            self.break_off(503, error_responses.NO_ROOM, now)
        elif intake.ended:
            self._deliver(intake.body(), now)
        self._resumed()

    def _go_on(self) -> float:
        now = self._site.seconds()
        if self._paused is not None:
            self._began += now - self._paused
            self._paused = None
        return now

    def _drop_body(self) -> None:
        self._piece = None
        intake, self._intake = self._intake, None
        if intake is not None:
            intake.drop()


def relieve(requests: RequestReader, now: float) -> bool:
    """Memory is scarce: have the body under way leave it, where its sender may use the disk. Says whether it is waited
    for now."""
    intake, turn = requests._intake, requests._turn
    if intake is None or turn is None or requests.waiting:
        return False
    if intake.asks:
        requests._ask(turn, now)
    else:
        intake.relieve()
        if intake.busy:
            requests._paused = now
    return requests.waiting


def _charged(turn: RequestContext, inbound: Message, body: bytes | SpooledBody, charge: BytesCharge) -> bool:
    """Have the request hold its body and what that is charged with. False = there is no room for it."""
    turn.body = Held(body, charge)
    inbound.charge = charge
    if type(body) is bytes and not charge.size and not charge.add(len(body)):
        return False
    charge.received()
    inbound.body = body
    return True


def _know(inbound: Message, charge: BytesCharge) -> None:
    """Who is logged in has more room."""
    principal = inbound.principal
    if principal is not None and principal.kind != ANONYMOUS.kind:
        charge.known()


def body_deadline(requests: RequestReader, now: float) -> float:
    """By when the body under way must have made progress; inf where it is not the client we wait for."""
    if requests.waiting:
        return inf
    settings, intake = requests._site.settings, requests._intake
    size = intake.size if intake is not None else 0
    return min(now, requests._began + size / _SLOWEST) + settings.body_timeout
