"""Rewrites the head of a server's response into the head that is sent to a client. Pure functions.

As with requests, each field is written again from parsed values, hop-by-hop fields are removed, and the framing is what
fits the client: chunked for HTTP/1.1 if the length is not known, until the connection closes for HTTP/1.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from zatotx.wire.http1.chunked_decoder import EndOfBody
from zatotx.wire.http1.response_parser import ResponseHead

_REMOVED = frozenset((
    b'connection', b'content-length', b'keep-alive', b'proxy-connection', b'te', b'transfer-encoding', b'upgrade',
))
KEEP_ALIVE, KEEP_ALIVE_1_0, CLOSE = b'', b'Connection: keep-alive\r\n', b'Connection: close\r\n'
_SWITCHING = b'Connection: Upgrade\r\n'
_CHUNKED = b'Transfer-Encoding: chunked\r\n'


@frozen(kw_only=True)
class ResponseRewritingRules:
    """The rules for rewriting the heads of responses from one backend."""

    removed: frozenset[bytes] = frozenset()  # lower-case names
    added: bytes = b''  # field lines

    @classmethod
    def from_settings(cls, removed: Iterable[str], added: Sequence[Mapping[str, str]]) -> ResponseRewritingRules:
        """Create rules from the header rules of a frontend and a backend."""
        fields = {name.lower().encode('latin-1'): (name, value) for rules in added for name, value in rules.items()}
        lines = [f'{name}: {value}\r\n'.encode('latin-1') for key, (name, value) in fields.items()
                 if key not in _REMOVED]  # fmt: skip
        names = frozenset(name.lower().encode('latin-1') for name in removed) | frozenset(fields)
        return cls(removed=names, added=b''.join(lines))


def rewrite_response_head(
    head: ResponseHead, rules: ResponseRewritingRules, connection: bytes, *, is_chunked: bool, has_body: bool
) -> bytes:
    """Return the head of the response that is sent to a client, including the empty line. `connection` is KEEP_ALIVE,
    KEEP_ALIVE_1_0 or CLOSE. `is_chunked` says whether the body is sent in chunks. `has_body` is False for responses to
    HEAD."""
    framing = b''
    if is_chunked:
        framing = _CHUNKED
    elif head.status >= 200 and head.status != 204:
        length = head.headers.get(b'content-length')
        if length is not None and (not has_body or head.status == 304 or head.length is not None):
            framing = b'Content-Length: %d\r\n' % int(length)
    return b'HTTP/1.1 %d %b\r\n%b%b%b%b\r\n' % (
        head.status, head.reason, b''.join(_kept_lines(head, rules)), rules.added, framing, connection,
    )  # fmt: skip


def rewrite_interim_response(head: ResponseHead) -> bytes:
    """Return an interim response (RFC 9110 §15.2), such as 100 Continue or 103 Early Hints."""
    return b'HTTP/1.1 %d %b\r\n%b\r\n' % (head.status, head.reason, b''.join(_kept_lines(head, _NO_RULES)))


def rewrite_switching_protocols(head: ResponseHead, rules: ResponseRewritingRules) -> bytes:
    """Return the head of a 101 response, after which both sides use another protocol."""
    upgrade = b'Upgrade: %b\r\n' % head.headers.get(b'upgrade', b'websocket')
    return b'HTTP/1.1 101 %b\r\n%b%b%b%b\r\n' % (
        head.reason, b''.join(_kept_lines(head, rules)), rules.added, _SWITCHING, upgrade,
    )  # fmt: skip


def add_field_line(response_head: bytes, line: bytes) -> bytes:
    """Return a serialized head with one additional field line."""
    return b'%b%b\r\n' % (response_head[:-2], line)


def serialize_last_chunk(end: EndOfBody) -> bytes:
    """Return the end of a chunked body. The parser has already checked the trailers."""
    if not end.trailers:
        return b'0\r\n\r\n'
    return b'0\r\n%b\r\n' % b''.join([b'%b: %b\r\n' % field for field in end.trailers])


_NO_RULES = ResponseRewritingRules()


def _kept_lines(head: ResponseHead, rules: ResponseRewritingRules) -> list[bytes]:
    removed = _REMOVED | rules.removed
    options = head.headers.get(b'connection')
    if options is not None:
        removed |= frozenset(option.strip(b' \t') for option in options.lower().split(b','))
    return [b'%b: %b\r\n' % (name, value) for name, value in head.raw_headers if name.lower() not in removed]
