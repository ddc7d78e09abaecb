"""What a channel puts on all of its answers, whoever made them: how it stands with rate limits, what browsers are told
of other sites, entity tags, gzip.

A channel that has nothing of that has no Dressing. One that has makes a Dress for each head: what follows from the head
alone is worked out once, as everything that does (see `reception`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import define, frozen
from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.model.message import Reply
from zatotx.plugins.http.schema.cors import cors_rules
from zatotx.plugins.http.server.gzip import AT_ONCE, GzipStream, gzip_body
from zatotx.plugins.http.server.request_context import RequestContext
from zatotx.plugins.http.server.response_stream import discard_stream
from zatotx.rules.http.compression import LEAST, is_textual, takes_gzip
from zatotx.rules.http.cors import CorsRules, Fields
from zatotx.rules.http.etag import compute_etag, is_etag, matches_if_none_match, weaken
from zatotx.wire.http1.request_parser import RequestHead
from zatotx.wire.http1.response_writer import field_lines

PATIENCE = 5.0  # seconds for a thread to compress an answer, which is sent as it is where that takes longer
_CORS = b'access-control-'
_ETAG = b'etag'
_NOT_MODIFIED = 304
_GZIP = b'Content-Encoding', b'gzip'
_UNTOUCHED = frozenset({204, 206, 304})  # statuses without a body, or with a part of one


@frozen
class CompressionContext:
    """Where bodies are worked on that are too large for the reactor."""

    offload: Callable[..., Deferred[Any]]  # (function, *args): run in the node's worker threads
    clock: Any  # IReactorTime


def filters_of(shop: CompressionContext, channel: Any) -> ResponseFilters | None:
    """What a channel of the configuration (schema.shared.HttpChannel) puts on its answers; None where it is nothing."""
    cors, etag = getattr(channel, 'cors', None), getattr(channel, 'etag', False)
    if cors is None and not (channel.rate_limits or channel.compress or etag):
        return None
    return ResponseFilters(shop, cors=None if cors is None else cors_rules(cors), compress=channel.compress, etag=etag)


class ResponseFilters:
    """What one channel puts on its answers."""

    __slots__ = ('_compress', '_cors', '_etag', '_shop')

    def __init__(
        self, shop: CompressionContext, *, cors: CorsRules | None = None, compress: bool = False, etag: bool = False
    ) -> None:
        self._shop = shop
        self._cors = cors
        self._compress = compress
        self._etag = etag

    @property
    def cors(self) -> CorsRules | None:
        """What preflights are answered by."""
        return self._cors

    def of(self, head: RequestHead) -> ResponseFilter:
        """For the answers to requests with this head."""
        headers, cors = head.headers, self._cors
        read = head.method in ('GET', 'HEAD')
        return ResponseFilter(
            self._shop,
            lines=field_lines(self._fields(headers.get(b'origin'))),
            cors=cors is not None,
            gzip=self._compress and takes_gzip(headers.get(b'accept-encoding')),
            etag=self._etag and read,
            known=headers.get(b'if-none-match', b'') if self._etag and read else b'',
        )

    def _fields(self, origin: bytes | None) -> Fields:
        varying = []
        allowed: Fields = ()
        if self._cors is not None:
            allowed = self._cors.of_answer(origin)
            if self._cors.varies:
                varying.append(b'Origin')
        if self._compress:
            varying.append(b'Accept-Encoding')
        return (*allowed, (b'Vary', b', '.join(varying))) if varying else allowed


class ResponseFilter:
    """What is put on the answers to requests with one head."""

    __slots__ = ('_cors', '_etag', '_gzip', '_known', '_lines', '_shop')

    _log = Logger()

    def __init__(
        self, shop: CompressionContext, *, lines: bytes, cors: bool, gzip: bool, etag: bool, known: bytes
    ) -> None:
        self._shop = shop
        self._lines = lines  # of every answer's head
        self._cors = cors  # what a service says of other sites does not count
        self._gzip = gzip  # the client takes it, and the channel gives it
        self._etag = etag  # the channel gives tags, and the method is one that reads
        self._known = known  # If-None-Match

    def put_on(self, turn: RequestContext, reply: Reply) -> None:
        """Finish an answer, and give it to its turn: at once, or when a thread has done its part."""
        standing = None if turn.inbound is None else turn.inbound.standing
        turn.lines = self._lines if standing is None else standing.lines() + self._lines
        if self._cors and reply.headers:
            reply.headers = [one for one in reply.headers if not one[0].lower().startswith(_CORS)]
        if (self._gzip or self._etag) and reply.status not in _UNTOUCHED:
            self._work_on(turn, reply)
        else:
            turn.dressed(reply)

    def _work_on(self, turn: RequestContext, reply: Reply) -> None:
        job = _Job(tag=_tag_in(reply), tagged=self._etag and reply.status == 200, known=self._known,
                   coded=self._gzip and _shrinks(reply))  # fmt: skip
        stream = reply.stream
        if stream is not None:
            if job.is_known:
                discard_stream(stream)
            elif job.coded:
                reply.stream = GzipStream(stream, self._shop.offload)
            self._finish(turn, reply, job)
        elif len(reply.body) > AT_ONCE and (job.coded or job.tagged):
            working: Deferred[_Job] = self._shop.offload(job.done, reply.body)
            working.addTimeout(PATIENCE, self._shop.clock)
            working.addCallbacks(partial(self._finish, turn, reply), partial(self._leave, turn, reply))
        else:
            self._finish(turn, reply, job.done(reply.body))

    def _finish(self, turn: RequestContext, reply: Reply, job: _Job) -> None:
        if job.tag:
            tag = weaken(job.tag) if job.coded else job.tag
            reply.headers = [*(one for one in reply.headers if one[0].lower() != _ETAG), (b'ETag', tag)]
        if job.is_known:
            reply = Reply(_NOT_MODIFIED, b'', b'', [one for one in reply.headers if not _describes_body(one[0])])
        elif job.coded:
            reply.headers = [*reply.headers, _GZIP]
            reply.body = job.body
        turn.dressed(reply)

    def _leave(self, turn: RequestContext, reply: Reply, failure: Failure) -> None:
        """It goes out as it is: better than not at all."""
        if not failure.check(TimeoutError):
            self._log.failure('{cid}: an answer of channel {channel!r} cannot be compressed or tagged', failure,
                              cid=turn.cid, channel=turn.channel)  # fmt: skip
        turn.dressed(reply)


@define(kw_only=True)
class _Job:
    """What is to be done with a body, and what became of it."""

    tag: bytes  # the service's own, or what is made; b'' = none
    tagged: bool  # it is to have one, and a client that has it need not get the body
    known: bytes
    coded: bool
    body: bytes = b''

    @property
    def is_known(self) -> bool:
        """Whether the client has the body already."""
        return self.tagged and bool(self.tag) and bool(self.known) and matches_if_none_match(self.known, self.tag)

    def done(self, body: bytes) -> _Job:
        """Do it. Takes time with large bodies: for threads."""
        if self.tagged and not self.tag:
            self.tag = compute_etag(body)
        if self.coded and not self.is_known:
            self.body = gzip_body(body)
        return self


def _tag_in(reply: Reply) -> bytes:
    """The entity tag that the service gave its answer."""
    return next((value for name, value in reply.headers if name.lower() == _ETAG and is_etag(value)), b'')


def _shrinks(reply: Reply) -> bool:
    """Whether it is worth while, and nobody has done it."""
    if reply.stream is None and len(reply.body) < LEAST:
        return False
    content_type = reply.content_type
    for name, value in reply.headers:
        lower = name.lower()
        if lower in (b'content-encoding', b'content-range') or (lower == b'cache-control' and b'no-transform' in value):
            return False
        if lower == b'content-type':
            content_type = value
    return is_textual(content_type)


def _describes_body(name: bytes) -> bool:
    """Whether a field is of no use without a body (RFC 9110 §15.4.5)."""
    lower = name.lower()
    return lower.startswith(b'content-') and lower != b'content-location'
