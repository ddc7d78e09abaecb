"""The response filters of a channel, which add rate limit fields, CORS fields and entity tags, and compress bodies with
gzip.

A channel that needs none of them has no ResponseFilters. A channel that does creates BoundResponseFilters for each
head: what follows from the head alone is computed once (see `request_router`).

gzip compresses whole bodies at once, and streams piece by piece, so that each piece is sent without delay.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import define, frozen
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.interfaces.connector_kind import MakeResponseHeaders
from zatotx.model.message import Reply
from zatotx.plugins.http.schema.cors import cors_rules
from zatotx.plugins.http.schema.http_channel_base import HttpChannel
from zatotx.plugins.http.server.request_context import IResponseFilter, IResponseFilters, RequestContext
from zatotx.plugins.http.transport.response_stream import close_stream, discard_stream
from zatotx.rules.http.compression_and_etags import (
    MIN_SIZE,
    accepts_gzip,
    compute_etag,
    is_compressible,
    is_etag,
    matches_if_none_match,
    weaken_etag,
)
from zatotx.rules.http.cors import CorsRules, HeaderFields
from zatotx.wire.http1.request_parser import RequestHead
from zatotx.wire.http1.response_writer import write_field_lines

AddedHeaders = Callable[[Mapping[bytes, bytes]], Iterable[tuple[bytes, bytes]]]

THREAD_THRESHOLD = 64 * 1024  # largest body that is compressed on the reactor, in bytes: a millisecond at worst
_LEVEL = 5  # a third slower than the fastest level, and a sixth smaller
_SMALL = 16 + 13, 5  # window and memory: 48 KiB instead of 256, whose allocation would dominate for a small body
_LARGE = 16 + zlib.MAX_WBITS, 8
COMPRESSION_TIMEOUT = 5.0  # seconds that a thread may take to compress a response; after that it is sent uncompressed
_CORS = b'access-control-'
_ETAG = b'etag'
_NOT_MODIFIED = 304
_GZIP = b'Content-Encoding', b'gzip'
_UNFILTERED = frozenset({204, 206, 304})  # statuses without a body, or with a part of one


def gzip_body(body: bytes) -> bytes:
    """Compress a body with gzip. Bodies larger than THREAD_THRESHOLD must be compressed in a thread."""
    compressor = _compressor(*(_LARGE if len(body) > THREAD_THRESHOLD else _SMALL))
    return compressor.compress(body) + compressor.flush()


class GzipStream:
    """A streamed response body that is compressed with gzip. Large pieces are compressed in a thread."""

    def __init__(self, source: AsyncIterator[bytes], offload: Callable[..., Deferred[Any]]) -> None:
        """`offload` calls (function, *args) in the node's worker threads."""
        self._source = source
        self._pieces = aiter(source)
        self._offload = offload
        self._compressor = _compressor(*_SMALL)
        self._finished = False

    def __aiter__(self) -> GzipStream:
        return self

    async def __anext__(self) -> bytes:
        if self._finished:
            raise StopAsyncIteration
        try:
            piece = await anext(self._pieces)
        except StopAsyncIteration:
            self._finished = True
            return self._compressor.flush()
        if not piece:
            return b''
        if len(piece) <= THREAD_THRESHOLD:
            return self._compress(piece)
        compressed: bytes = await self._offload(self._compress, piece)
        return compressed

    async def aclose(self) -> None:
        """Close the source: the client disconnected, or the service failed."""
        await close_stream(self._source)

    def _compress(self, piece: bytes) -> bytes:
        return self._compressor.compress(piece) + self._compressor.flush(zlib.Z_SYNC_FLUSH)


def _compressor(window: int, memory: int) -> zlib._Compress:
    return zlib.compressobj(_LEVEL, zlib.DEFLATED, window, memory)


@frozen
class CompressionContext:
    """The thread pool and the clock that are used to compress large bodies."""

    offload: Callable[..., Deferred[Any]]  # (function, *args): run in the node's worker threads
    clock: IReactorTime


def make_filters(
    context: CompressionContext, channel: HttpChannel, *, response_headers: Sequence[MakeResponseHeaders] = ()
) -> ResponseFilters | None:
    """Create the response filters of a channel, or return None if the channel needs no filters. `response_headers` are
    the header functions of the installed kinds; a failing function is logged and adds nothing."""
    cors, etag = getattr(channel, 'cors', None), getattr(channel, 'etag', False)
    added = [added for make in response_headers if (added := _added_headers(make, channel)) is not None]
    if cors is None and not (channel.rate_limits or channel.compress or etag or added):
        return None
    rules = None if cors is None else cors_rules(cors)
    return ResponseFilters(context, cors=rules, compress=channel.compress, etag=etag, added_headers=added)


def _added_headers(make: MakeResponseHeaders, channel: HttpChannel) -> AddedHeaders | None:
    try:
        return make(channel)
    except Exception:  # whatever the code of a kind raises: the channel works without its fields
        ResponseFilters._log.failure('A kind cannot add header fields to the responses of channel {name!r}',
                                     name=channel.name)  # fmt: skip
        return None


@implementer(IResponseFilters)
class ResponseFilters:
    """Implements IResponseFilters: the response filters of one channel."""

    __slots__ = ('_added_headers', '_compress', '_context', '_cors', '_etag')
    _log = Logger()

    def __init__(
        self,
        context: CompressionContext,
        *,
        cors: CorsRules | None = None,
        compress: bool = False,
        etag: bool = False,
        added_headers: Sequence[AddedHeaders] = (),
    ) -> None:
        """`added_headers`: functions of the installed kinds, each of the header fields of a request."""
        self._added_headers = added_headers
        self._context = context
        self._cors = cors
        self._compress = compress
        self._etag = etag

    @property
    def cors(self) -> CorsRules | None:
        """The rules for preflight requests."""
        return self._cors

    def filter_for(self, head: RequestHead) -> BoundResponseFilters:
        """Return the filter for responses to requests with this head."""
        headers, cors = head.headers, self._cors
        is_read = head.method in ('GET', 'HEAD')
        return BoundResponseFilters(
            self._context,
            header_lines=write_field_lines(self._header_fields(headers.get(b'origin'))) + self._added_lines(headers),
            has_cors=cors is not None,
            compress=self._compress and accepts_gzip(headers.get(b'accept-encoding')),
            add_etag=self._etag and is_read,
            if_none_match=headers.get(b'if-none-match', b'') if self._etag and is_read else b'',
        )

    def _added_lines(self, headers: Mapping[bytes, bytes]) -> bytes:
        lines = b''
        for added in self._added_headers:
            try:
                lines += write_field_lines(added(headers))
            except Exception:  # whatever the code of a kind raises: the response is sent without its fields
                self._log.failure('A kind cannot add its header fields to a response')
        return lines

    def _header_fields(self, origin: bytes | None) -> HeaderFields:
        vary = []
        allowed: HeaderFields = ()
        if self._cors is not None:
            allowed = self._cors.response_headers(origin)
            if self._cors.varies_by_origin:
                vary.append(b'Origin')
        if self._compress:
            vary.append(b'Accept-Encoding')
        return (*allowed, (b'Vary', b', '.join(vary))) if vary else allowed


@implementer(IResponseFilter)
class BoundResponseFilters:
    """Implements IResponseFilter: applies a channel's filters to the responses to the requests that have the same
    head."""

    __slots__ = ('_context', '_cors', '_etag', '_gzip', '_header_lines', '_if_none_match')

    _log = Logger()

    def __init__(
        self,
        context: CompressionContext,
        *,
        header_lines: bytes,
        has_cors: bool,
        compress: bool,
        add_etag: bool,
        if_none_match: bytes,
    ) -> None:
        self._context = context
        self._header_lines = header_lines  # added to the head of every response
        self._cors = has_cors  # CORS fields set by the service are removed
        self._gzip = compress  # the channel compresses, and the client accepts it
        self._etag = add_etag  # the channel sends entity tags, and the method reads
        self._if_none_match = if_none_match  # If-None-Match

    def apply(self, request: RequestContext, reply: Reply) -> None:
        """Filter a response and pass it to its request: at once, or when a thread has finished its part."""
        rate_limit = None if request.message is None else request.message.rate_limit_state
        limit_lines = b'' if rate_limit is None else rate_limit.header_lines()
        request.header_lines = limit_lines + self._header_lines
        if self._cors and reply.headers:
            reply.headers = [field for field in reply.headers if not field[0].lower().startswith(_CORS)]
        if (self._gzip or self._etag) and reply.status not in _UNFILTERED:
            self._filter_body(request, reply)
        else:
            request.set_reply(reply)

    def _filter_body(self, request: RequestContext, reply: Reply) -> None:
        job = _BodyFilter(
            etag=_entity_tag(reply),
            add_etag=self._etag and reply.status == 200,
            if_none_match=self._if_none_match,
            compress=self._gzip and _is_compressible(reply),
        )
        stream = reply.stream
        if stream is not None:
            if job.is_not_modified:
                discard_stream(stream)
            elif job.compress:
                reply.stream = GzipStream(stream, self._context.offload)
            self._finish(request, reply, job)
        elif len(reply.body) > THREAD_THRESHOLD and (job.compress or job.add_etag):
            filtering: Deferred[_BodyFilter] = self._context.offload(job.apply, reply.body)
            filtering.addTimeout(COMPRESSION_TIMEOUT, self._context.clock)
            filtering.addCallbacks(
                partial(self._finish, request, reply), partial(self._send_unfiltered, request, reply)
            )
        else:
            self._finish(request, reply, job.apply(reply.body))

    def _finish(self, request: RequestContext, reply: Reply, job: _BodyFilter) -> None:
        if job.etag:
            tag = weaken_etag(job.etag) if job.compress else job.etag
            reply.headers = [*(field for field in reply.headers if field[0].lower() != _ETAG), (b'ETag', tag)]
        if job.is_not_modified:
            reply = Reply(_NOT_MODIFIED, b'', b'', [field for field in reply.headers if not _describes_body(field[0])])
        elif job.compress:
            reply.headers = [*reply.headers, _GZIP]
            reply.body = job.body
        request.set_reply(reply)

    def _send_unfiltered(self, request: RequestContext, reply: Reply, failure: Failure) -> None:
        """Send the response as it is: that is better than none."""
        if not failure.check(TimeoutError):
            self._log.failure('{cid}: an answer of channel {channel!r} cannot be compressed or tagged', failure,
                              cid=request.cid, channel=request.channel)  # fmt: skip
        request.set_reply(reply)


@define(kw_only=True)
class _BodyFilter:
    """The entity tag and the compressed form of one body."""

    etag: bytes  # the service's own, or the computed one; b'' = none
    add_etag: bool  # whether it gets a tag, and a client that has that tag gets no body
    if_none_match: bytes
    compress: bool
    body: bytes = b''

    @property
    def is_not_modified(self) -> bool:
        """Whether the client has the body already."""
        return (
            self.add_etag
            and bool(self.etag)
            and bool(self.if_none_match)
            and matches_if_none_match(self.if_none_match, self.etag)
        )

    def apply(self, body: bytes) -> _BodyFilter:
        """Compute the tag and compress the body. Blocks with large bodies: call it in a thread."""
        if self.add_etag and not self.etag:
            self.etag = compute_etag(body)
        if self.compress and not self.is_not_modified:
            self.body = gzip_body(body)
        return self


def _entity_tag(reply: Reply) -> bytes:
    """Return the entity tag that the service gave its response."""
    return next((value for name, value in reply.headers if name.lower() == _ETAG and is_etag(value)), b'')


def _is_compressible(reply: Reply) -> bool:
    """Return whether compression is useful and permitted, and not done already."""
    if reply.stream is None and len(reply.body) < MIN_SIZE:
        return False
    content_type = reply.content_type
    for name, value in reply.headers:
        lower = name.lower()
        if lower in (b'content-encoding', b'content-range') or (lower == b'cache-control' and b'no-transform' in value):
            return False
        if lower == b'content-type':
            content_type = value
    return is_compressible(content_type)


def _describes_body(name: bytes) -> bool:
    """Return whether a header field is meaningless without a body (RFC 9110 §15.4.5)."""
    lower = name.lower()
    return lower.startswith(b'content-') and lower != b'content-location'
