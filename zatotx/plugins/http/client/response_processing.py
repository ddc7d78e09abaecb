"""Processes responses before they are returned: follows redirects (RFC 9110 §15.4, by the rules of
`rules.http.redirects`), and decodes content codings within size limits (RFC 9110 §8.4). Most responses need neither,
and cost a single check.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from zatotx.plugins.http.client.errors import BadContentCoding, BadRedirect, TooManyRedirects
from zatotx.plugins.http.client.http_messages import (
    BodyStream,
    Fields,
    HttpRequest,
    HttpResponse,
    Origin,
    ResponseHead,
    Sender,
)
from zatotx.rules.http.redirects import (
    REDIRECT_STATUSES,
    RedirectedRequest,
    RedirectError,
    RedirectTarget,
    follow_redirect,
    is_body_field,
    is_credential_field,
)
from zatotx.wire.http.decompression import DecompressionBomb, Decompressor, Malformed, parse_content_encoding
from zatotx.wire.http1.request_writer import HeaderFields

ACCEPT_ENCODING = (b'Accept-Encoding', b'gzip, deflate')  # of requests whose responses may be encoded
_QUICK_SIZE = 32 * 1024  # largest body that is decoded on the reactor, in bytes: a few milliseconds at worst
_PIECE_SIZE = 64 * 1024
_PARTIAL = 206
_REMOVED_FIELDS = (b'content-encoding', b'content-length')  # fields removed from the head of a decoded response

Offload = Callable[..., Deferred[Any]]


class RedirectFollower:
    """Follows at most `max_redirects` redirects of a call, within the call's total timeout.

    Redirects to another origin are followed only with `any_origin`, and then not to addresses that only this machine
    can reach: `Origin.redirected` makes the connector check the address. Credentials (`is_credential_field`, and the
    fields in `secret_fields`, lower-case) are not sent to another origin.
    """

    def __init__(
        self,
        sender: Sender,
        *,
        max_redirects: int,
        any_origin: bool = False,
        secret_fields: frozenset[bytes] = frozenset(),
    ) -> None:
        self._sender = sender
        self._max_redirects = max_redirects
        self._any_origin = any_origin
        self._secret_fields = secret_fields

    async def follow(self, response: HttpResponse, request: HttpRequest, deadline: float) -> HttpResponse:
        """Return the final response, which is `answer` if that is no redirect; a redirect without Location is returned
        like any other response. `deadline`: when the call times out, in seconds on the reactor's clock.

        Raises BadRedirect if a redirect cannot be followed, TooManyRedirects if there are too many or they form a loop,
        and the sender's errors.
        """
        original_origin = request.origin
        seen = {(request.method, _target_of(request))}
        while response.head.status in REDIRECT_STATUSES and b'location' in response.head.headers:
            if not isinstance(response.body, bytes):
                response.body.close()
            if len(seen) > self._max_redirects:
                host = request.origin.host
                raise TooManyRedirects(f'redirected more than {self._max_redirects} times, at last by {host}')
            request = self._next(response, request, original_origin, deadline)
            visited = (request.method, _target_of(request))
            if visited in seen:
                raise TooManyRedirects(f'redirected in a circle by {request.origin.host}')
            seen.add(visited)
            response = await self._sender.send(request)
        return response

    def _next(self, answer: HttpResponse, outbound: HttpRequest, home: Origin, by: float) -> HttpRequest:
        """Return the request that a redirect asks for. `home`: the origin of the call. Raises BadRedirect."""
        head, host = answer.head, outbound.origin.host
        try:
            redirected = follow_redirect(
                head.status, outbound.method, _target_of(outbound), head.headers[b'location'],
                has_body=outbound.body is not None,
            )  # fmt: skip
        except RedirectError as error:
            raise BadRedirect(f'the redirection ({head.status}) by {host} {error}') from None
        if redirected.keeps_body and not _is_repeatable(outbound):
            raise BadRedirect(f'the redirection ({head.status}) by {host} is of a body that can be sent only once')
        target = redirected.target
        origin = Origin('https' if target.secure else 'http', target.host, target.port)
        if origin != home:
            if not self._any_origin:
                raise other_origin_error(f'the redirection ({head.status}) by {host}', origin)
            origin = msgspec.structs.replace(origin, redirected=True)
        return msgspec.structs.replace(
            outbound,
            method=redirected.method,
            origin=origin,
            target=target.target.encode('ascii'),
            headers=self._kept_headers(outbound.headers, redirected),
            body=outbound.body if redirected.keeps_body else None,
            expect_timeout=outbound.expect_timeout if redirected.keeps_body else 0.0,
            deadline=by,
        )

    def _kept_headers(self, headers: Fields | HeaderFields, redirected: RedirectedRequest) -> Fields:
        return [
            (name, value) for name, value in headers
            if (redirected.keeps_body or not is_body_field(name))
            and (redirected.keeps_credentials or not self._is_private(name))
        ]  # fmt: skip

    def _is_private(self, name: bytes) -> bool:
        """Return whether a field must not be sent to another origin; Host always belongs to one origin."""
        return is_credential_field(name) or name.lower() in self._secret_fields or name.lower() == b'host'


def other_origin_error(redirection: str, origin: Origin) -> BadRedirect:
    """Return the error for a redirect to another origin, which the connection does not follow."""
    return BadRedirect(f'{redirection} leads to {origin.scheme}://{origin.authority.decode("ascii")}, where only '
                       '`follow_redirects: any` follows')  # fmt: skip


def _target_of(outbound: HttpRequest) -> RedirectTarget:
    origin = outbound.origin
    return RedirectTarget(origin.scheme == 'https', origin.host, origin.port, outbound.target.decode('ascii'))


def _is_repeatable(outbound: HttpRequest) -> bool:
    body = outbound.body
    return body is None or isinstance(body, bytes) or body.repeatable


class ResponseDecoder:
    """Decodes the content codings of responses, and removes the corresponding header fields. Responses with an unknown
    coding, and partial responses (206), are not changed. `offload` runs a function in a thread."""

    def __init__(self, offload: Offload, *, max_ratio: int) -> None:
        self._offload = offload
        self._ratio = max_ratio

    async def decode(self, response: HttpResponse, max_size: int) -> HttpResponse:
        """Decode a response. Raises BadContentCoding if the body is damaged, is longer than `max_size` bytes when
        decoded, or grows to more than `ratio` times its received size; a stream, whose length is not limited, raises it
        while it is read."""
        field, body = response.head.headers.get(b'content-encoding'), response.body
        coding = parse_content_encoding(field) if response.head.status != _PARTIAL else ''
        if not coding or not body:
            return response
        if not isinstance(body, bytes):
            inflater = Decompressor(coding, max_size=sys.maxsize, max_ratio=self._ratio, allow_raw=True)
            return HttpResponse(_decoded_head(response.head, None), DecodedStream(body, inflater))
        inflater = Decompressor(coding, max_size=max_size, max_ratio=self._ratio, allow_raw=True)
        if len(body) <= _QUICK_SIZE:
            decoded = decode_content_coding(body, inflater)
        else:
            decoded = await self._offload(decode_content_coding, body, inflater)
        return HttpResponse(_decoded_head(response.head, len(decoded)), decoded, response.trailers)


def decode_content_coding(body: bytes, inflater: Decompressor) -> bytes:
    """Decode the content coding of a body, and return the decoded body. Raises BadContentCoding."""
    decoded = bytearray()
    try:
        for start in range(0, len(body), _PIECE_SIZE):
            decoded += inflater.feed(body[start : start + _PIECE_SIZE])
        inflater.finish()
    except (Malformed, DecompressionBomb) as error:
        raise _bad_coding(error) from None
    return bytes(decoded)


class DecodedStream:
    """A BodyStream that decodes another BodyStream."""

    def __init__(self, stream: BodyStream, inflater: Decompressor) -> None:
        self._stream = stream
        self._inflater = inflater
        self._fed = False
        self._failed: Exception | None = None

    @property
    def trailers(self) -> Fields:
        """See BodyStream."""
        return self._stream.trailers

    def read(self) -> Deferred[bytes]:
        """See BodyStream."""
        return Deferred.fromCoroutine(self._read())

    def close(self) -> None:
        """See BodyStream."""
        self._stream.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self.read()
        if not piece:
            raise StopAsyncIteration
        return piece

    async def _read(self) -> bytes:
        if self._failed is not None:
            raise self._failed
        try:
            while piece := await self._stream.read():
                self._fed = True
                if decoded := self._inflater.feed(piece):
                    return decoded
            if self._fed:
                self._inflater.finish()
        except (Malformed, DecompressionBomb) as error:
            self.close()
            self._failed = _bad_coding(error)
            raise self._failed from None
        return b''


def _bad_coding(error: Malformed | DecompressionBomb) -> BadContentCoding:
    text = str(error)
    return BadContentCoding(text[:1].lower() + text[1:])


def _decoded_head(head: ResponseHead, length: int | None) -> ResponseHead:
    """Return a head without the coding's fields. Heads are shared, so this is a copy."""
    headers = {name: value for name, value in head.headers.items() if name not in _REMOVED_FIELDS}
    raw = [(name, value) for name, value in head.raw_headers if name.lower() not in _REMOVED_FIELDS]
    return msgspec.structs.replace(head, headers=headers, raw_headers=raw, length=length)


class ResponseProcessor:
    """A Sender that follows redirects and decodes response bodies. Raises the errors of `RedirectFollower.follow` and
    `Decoder.decode`."""

    def __init__(
        self,
        sender: Sender,
        seconds: Callable[[], float],
        *,
        redirects: RedirectFollower | None,
        decoder: ResponseDecoder | None,
    ) -> None:
        self._sender = sender
        self._seconds = seconds
        self._redirects = redirects
        self._decoder = decoder

    def send(self, request: HttpRequest) -> Deferred[HttpResponse]:
        """See Sender."""
        return self._sender.send(request).addCallback(self._check, request, self._seconds())

    async def send_awaitable(self, request: HttpRequest) -> HttpResponse:
        """Send a request from a coroutine, without the callback that `send` needs."""
        began = self._seconds()
        response = await self._sender.send(request)
        head = response.head
        if head.status < 300 and b'content-encoding' not in head.headers:
            return response
        return await self._finish(response, request, began)

    def _check(
        self, response: HttpResponse, outbound: HttpRequest, began: float
    ) -> HttpResponse | Deferred[HttpResponse]:
        head = response.head
        if head.status < 300 and b'content-encoding' not in head.headers:
            return response
        return Deferred.fromCoroutine(self._finish(response, outbound, began))

    async def _finish(self, response: HttpResponse, outbound: HttpRequest, began: float) -> HttpResponse:
        if self._redirects is not None:
            by = min(outbound.deadline, began + outbound.timeouts.total_timeout)
            response = await self._redirects.follow(response, outbound, by)
        return response if self._decoder is None else await self._decoder.decode(response, outbound.max_body)
