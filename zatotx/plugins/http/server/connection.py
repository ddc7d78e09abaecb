"""One client connection: Twisted's protocol around Requests (in) and Answers (out), and how it ends."""

from __future__ import annotations

from math import inf
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.plugins.http.server import error_responses
from zatotx.plugins.http.server.buffered_writer import READ, enlarge_reads, writer_for
from zatotx.plugins.http.server.client_info import client_of
from zatotx.plugins.http.server.half_close import ASKED, GONE, probe_client
from zatotx.plugins.http.server.request_reader import HEAD, INPUT_CLOSED, RequestReader, body_deadline, relieve
from zatotx.plugins.http.server.response_writer import ResponseWriter
from zatotx.plugins.http.server.server_context import ServerContext
from zatotx.rules.http.forwarding import UNIX

BACKLOG = 64 * 1024  # bytes that may wait for their turn before the client is made to wait
LINGER = 5.0  # seconds in which a client that still sends can take in that it was refused
FORGETFUL = 5.0  # seconds of idleness after which the last head is not kept any more
PATIENCE = 0.2  # seconds a half-closed connection waits for its answers before the client is probed

# What `due` is the deadline of. RESTING is IDLE with the last request forgotten.
NOTHING, FRESH, IDLE, RESTING, IN_HEAD, IN_BODY, LINGERING, CLOSING, HALF_CLOSED, PROBED = range(10)


@implementer(IProtocol, IHalfCloseableProtocol, IHandshakeListener)
class ServerConnection:
    """Not a subclass of Twisted's Protocol, which would give each idle connection a dictionary.

    `due` is looked at by `deadlines.Sweep`, in seconds of the reactor's clock.
    """

    __slots__ = ('_answers', '_behind', '_client', '_idle_timeout', '_network', '_outlet', '_paused', '_requests',
                 '_site', '_waits', 'due', 'transport')  # fmt: skip

    def __init__(self, site: ServerContext) -> None:
        self._site = site
        self._paused = False
        self._waits = FRESH
        self._network = ''  # that it is counted for
        self._behind = 0  # requests before the head under way
        self._idle_timeout = site.settings.idle_timeout
        self.due = inf

    # Twisted's side.

    def makeConnection(self, transport: Any) -> None:
        """Begin."""
        site = self._site
        self.transport = transport
        client = self._client = client_of(transport, site.settings.public_url)
        if client.address != UNIX:
            transport.setTcpNoDelay(True)
        outlet = self._outlet = writer_for(transport, self._drained, site.seconds, site.burst)
        self._answers = ResponseWriter(
            site, outlet, client.address, moved_on=self._advance, ended=self._finish, broken=transport.abortConnection
        )
        self._requests = RequestReader(site, self._answers, outlet, client, self._advance)
        self.due = site.seconds() + site.settings.head_timeout
        site.opened(self)
        network = site.address_limit.enter(client.address) if site.is_limited(client) else ''
        if network is None:
            transport.abortConnection()
            return
        self._network = network
        self.connectionMade()

    def handshakeCompleted(self) -> None:
        """Over TLS: before any bytes of the client come."""
        self._client.over_tls(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the client."""
        if len(data) == READ:
            enlarge_reads(self.transport)
        requests = self._requests
        if requests.phase != INPUT_CLOSED:
            requests.parser.feed(data)
            self._advance()

    def readConnectionLost(self) -> None:
        """The client sends no more. Whether it still listens nobody can know: see `hangup`."""
        if self._waits in (LINGERING, CLOSING):
            self.transport.loseConnection()
            return
        self._waits = HALF_CLOSED
        self.due = self._site.seconds() + PATIENCE
        self._advance()

    def writeConnectionLost(self) -> None:
        """Our own half-close is out: `linger` goes on."""

    def connectionLost(self, reason: Failure) -> None:
        """It is over: whatever runs for the client is cancelled."""
        self.due = inf
        self._requests.deafen()
        self._answers.abandon()
        if self._network:
            self._site.address_limit.leave(self._network)
        self._site.closed(self)

    # Going on.

    def _advance(self) -> None:
        """Serve what has come in, as far as nothing must be waited for, and answer it in one write."""
        answers = self._answers
        if answers.corked:
            return
        requests, now = self._requests, self._site.seconds()
        if self._waits == NOTHING and requests.quiet:  # an answer went out that client and we have waited for
            self._waits = IDLE
            self.due = now + self._idle_timeout
            return
        answers.corked = True
        try:
            requests.pull(now)
        finally:
            answers.uncork()
        if answers.closed:
            self._finish()
        elif self._waits == IDLE and requests.phase == HEAD and requests.parser.idle:  # as after most requests
            if answers.turns:
                self._waits = NOTHING
                self.due = inf
            else:
                self.due = now + self._idle_timeout
        else:
            self._settle(now)

    def _drained(self) -> None:
        """The client has taken all that was written."""
        stream = self._answers.stream
        if stream is not None:
            stream.drained()
        self._advance()

    def _settle(self, now: float) -> None:
        """Set what is waited for now."""
        requests = self._requests
        held_up = requests.held_up
        if self._waits >= HALF_CLOSED:
            if held_up:
                return
            if not requests.ended:
                requests.break_off(400, error_responses.CUT_SHORT, now)
            elif not self._answers.turns:
                self._lose()
            return
        if self._waits == CLOSING:  # by the answer that was written on the way here
            return
        if held_up and (requests.parser.pending > BACKLOG or (requests.waiting and self._site.memory.pressed)):
            if not self._paused:
                self._paused = True
                self.transport.pauseProducing()
        elif self._paused:
            self._paused = False
            self.transport.resumeProducing()
        if requests.phase != HEAD:
            self._waits = IN_BODY
            self.due = inf if requests.phase == INPUT_CLOSED else body_deadline(requests, now)
        elif held_up or (requests.parser.idle and self._answers.turns):
            self._waits = NOTHING
            self.due = inf
        elif requests.parser.idle:
            self._waits = IDLE
            self.due = now + self._idle_timeout
        elif self._waits != IN_HEAD or self._behind != requests.count:
            self._behind = requests.count
            self._waits = IN_HEAD
            self.due = now + self._site.settings.head_timeout

    # Ending.

    def drain(self) -> None:
        """Where the node drains and nothing is under way here: close."""
        requests = self._requests
        if self._site.draining and requests.phase == HEAD and requests.ended and not self._answers.turns:
            self._lose()

    connectionMade = drain  # a node that drains takes nobody in

    def _finish(self) -> None:
        """The last answer is written: end in a way that lets the client read it."""
        requests = self._requests
        cut = not requests.ended
        requests.deafen()
        if not cut or self._waits >= HALF_CLOSED:
            self._lose()
            return
        self._waits = LINGERING
        self.due = self._site.seconds() + LINGER
        self._outlet.half_close()
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()

    def _lose(self) -> None:
        if self._waits == CLOSING:
            return
        self._requests.deafen()
        self._waits = CLOSING
        self.due = self._site.seconds() + self._site.settings.write_timeout
        self._outlet.lose()

    # The sweep's side.

    def check(self, now: float) -> None:
        """See to what is overdue: a client that does not read, a stream whose service does not go on, `due`."""
        outlet, stream = self._outlet, self._answers.stream
        if (outlet.behind and now - outlet.moved >= self._site.settings.write_timeout) or (
            stream is not None and stream.due <= now
        ):
            self.transport.abortConnection()
        elif self.due <= now:
            self._overdue(now)
        elif self._waits == IDLE and now >= self.due - self._idle_timeout + FORGETFUL:
            self._waits = RESTING
            self._requests.forget()
        elif self._waits == IN_BODY and self._site.reliefs and relieve(self._requests, now):
            self._site.reliefs -= 1
            self.due = inf  # it is the disk or the exchange that is waited for

    def _overdue(self, now: float) -> None:
        waits, requests = self._waits, self._requests
        if waits == IN_HEAD:
            requests.break_off(408, error_responses.HEAD_LATE, now)
        elif waits == IN_BODY:
            requests.break_off(408, error_responses.BODY_LATE, now)
        elif waits in (HALF_CLOSED, PROBED):
            self.due = now + PATIENCE
            found = probe_client(self.transport, self._answers, self._outlet, probed=waits == PROBED)
            if found == GONE:
                self.transport.abortConnection()
            elif found == ASKED:
                self._waits = PROBED
        elif self._outlet.behind:  # it is still reading: `check` sees when it stops
            self.due = now + LINGER
        elif waits == CLOSING:
            self.transport.abortConnection()
        else:
            self._lose()
