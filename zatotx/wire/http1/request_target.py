"""Parses request targets in their four forms (RFC 9112 §3.2), each only where it is allowed."""

from __future__ import annotations

from zatotx.wire.http1.fields import HEX_PAIRS, is_authority
from zatotx.wire.http1.limits import MessageRejected

_SCHEMES = (b'http', b'https')


def split_target(method: str, target: bytes) -> tuple[bytes, bytes, bytes]:
    """Returns (path, query, authority) of a request target.

    Path and query are raw, without '?'; a fragment, which clients should not send, is removed. The authority is b'' in
    origin-form; in absolute-form it is the target's host and port without user information, which replaces Host (RFC
    9112 §3.2.2). llhttp checks that all octets are visible ASCII. Rejects with 400: a form that the method does not
    allow, '%' without two hex digits, an encoded NUL in the path.
    """
    if b'%' in target:
        _check_escapes(target)
    if method == 'CONNECT':
        return _authority_form(target)
    if target.startswith(b'/'):
        if b'#' in target:
            target = target.partition(b'#')[0]
        path, _, query = target.partition(b'?')
        return path, query, b''
    if target == b'*' and method == 'OPTIONS':
        return target, b'', b''
    return _absolute_form(target)


def _check_escapes(target: bytes) -> None:
    if not HEX_PAIRS.issuperset(piece[:2] for piece in target.split(b'%')[1:]):
        raise MessageRejected(400, 'The request target has a % that is not followed by two hex digits')
    if b'%00' in target.partition(b'?')[0]:
        raise MessageRejected(400, 'The path of the request target has an encoded NUL')


def _authority_form(target: bytes) -> tuple[bytes, bytes, bytes]:
    if not is_authority(target) or not target.rpartition(b':')[2].isdigit():
        raise MessageRejected(400, 'The target of CONNECT is not a host and a port')
    return target, b'', target


def _absolute_form(target: bytes) -> tuple[bytes, bytes, bytes]:
    scheme, separator, rest = target.partition(b'://')
    if not separator or scheme.lower() not in _SCHEMES:
        raise MessageRejected(400, 'The request target is neither a path nor an absolute http or https URL')
    end = min(position if position >= 0 else len(rest) for position in map(rest.find, (b'/', b'?', b'#')))
    authority = rest[:end].rpartition(b'@')[2]
    if not is_authority(authority):
        raise MessageRejected(400, 'The authority of the request target is not a host with an optional port')
    path, _, query = rest[end:].partition(b'#')[0].partition(b'?')
    return path or b'/', query, authority
