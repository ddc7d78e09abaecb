"""Header and trailer fields: syntax (RFC 9110 §5), and the few whose meaning decides framing or routing.

Used for requests now, and for responses by the outgoing client and the load balancer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from zatotx.wire.http1.limits import MessageRejected

DIGITS = b'0123456789'
ALPHA = b'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'
TOKEN = b"!#$%&'*+-.^_`|~" + DIGITS + ALPHA
VALUE = b'\t' + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
HEX = frozenset(DIGITS + b'abcdefABCDEF')
HEX_PAIRS = frozenset(bytes((high, low)) for high in HEX for low in HEX)
# unreserved and sub-delims of RFC 3986, beside which a reg-name has only percent-encoded octets
_REG_NAME = b'-._~' + b"!$&'()*+,;=" + DIGITS + ALPHA
_LONGEST_HOST = 255 + 6
_LONGEST_LENGTH = 19  # digits: what fits 64 bits with a sign

# Fields that have one value (RFC 9110 and 9112): a second one makes a message mean different things to different
# readers. User-Agent and the like are singletons too, but nothing is decided by them.
SINGLETONS = frozenset((
    b'authorization', b'content-length', b'content-location', b'content-range', b'content-type', b'date', b'expect',
    b'from', b'host', b'if-modified-since', b'if-range', b'if-unmodified-since', b'max-forwards',
    b'proxy-authorization', b'range', b'referer',
))
# Fields that frame, route or authorize. A name that differs from one of them by '_' for '-' is the same field to CGI
# and WSGI programs behind us.
DECISIVE = frozenset((
    b'authorization', b'connection', b'content-length', b'content-type', b'expect', b'host', b'keep-alive',
    b'proxy-authorization', b'proxy-connection', b'te', b'trailer', b'transfer-encoding', b'upgrade',
    b'x-forwarded-for', b'x-forwarded-host', b'x-forwarded-proto',
))
# What RFC 9110 §6.5.1 keeps out of trailers: framing, routing, authentication, request modifiers, content format.
# Content-Type is let through: trailers are never merged into the head, so that it decides nothing.
NO_TRAILERS = (SINGLETONS | DECISIVE | frozenset((
    b'age', b'cache-control', b'content-encoding', b'cookie', b'if-match', b'if-none-match', b'pragma',
    b'proxy-authenticate', b'set-cookie', b'www-authenticate',
))) - {b'content-type'}


def is_token(name: bytes) -> bool:
    """Whether `name` is a token of RFC 9110 §5.6.2, as field names must be."""
    return bool(name) and not name.translate(None, TOKEN)


def is_value(value: bytes) -> bool:
    """Whether `value` is free of control characters other than the tab (RFC 9110 §5.5)."""
    return not value.translate(None, VALUE)


def field_line(line: bytes) -> tuple[bytes, bytes]:
    """One field line, without its end, as (name as sent, value without the whitespace around it). Refused: 400."""
    name, colon, value = line.partition(b':')
    if not colon or not is_token(name):
        raise MessageRejected(400, 'A field line has no name of legal characters followed at once by a colon')
    if not is_value(value):
        raise MessageRejected(400, 'A field value has a control character')
    return name, value.strip(b' \t')


def check_names(names: Iterable[bytes]) -> None:
    """Refuse names that another reader takes for a field that decides: `Content_Length`. Names are lower-case."""
    for name in names:
        if b'_' in name and name.replace(b'_', b'-') in DECISIVE:
            raise MessageRejected(
                400, f'The field {name.decode("ascii")} is spelled with _ where the field it imitates has -'
            )


def check_lengths(head: bytes, longest: int) -> None:
    """Refuse (431) a head with a field line that is longer than this many bytes, its end included."""
    lines = iter(head.split(b'\r\n'))
    next(lines)
    if any(len(line) + 2 > longest for line in lines):
        raise MessageRejected(431, f'A field of the head is longer than {longest} bytes')


def combine_fields(raw: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Fields by lower-case name; repeated ones joined in order by ', ', cookies by '; '. Repeated singletons: 400."""
    fields: dict[bytes, bytes] = {}
    for name, value in raw:
        key = name.lower()
        if key not in fields:
            fields[key] = value
        elif key in SINGLETONS:
            raise MessageRejected(400, f'The field {key.decode("ascii")} stands twice')
        else:
            fields[key] += (b'; ' if key == b'cookie' else b', ') + value
    return fields


def content_length(value: bytes) -> int:
    """The value of Content-Length: 1 to 19 ASCII digits and nothing else. Refused: 400."""
    if not value.isdigit() or len(value) > _LONGEST_LENGTH:
        raise MessageRejected(400, 'Content-Length is not one decimal number of at most 19 digits')
    return int(value)


def check_chunked(value: bytes) -> None:
    """Refuse a Transfer-Encoding of a request that is not chunked and nothing else. 400: where the body ends is not
    known, because chunked is not the last coding and stands once (RFC 9112 §6.3). 501: it is known, and the body is in
    a coding beside that (§6.1), which would have to be undone before anybody could use it."""
    if value == b'chunked':
        return
    *earlier, last = (coding.strip(b' \t').lower() for coding in value.split(b','))
    if last != b'chunked' or not all(map(_is_coding, earlier)):
        raise MessageRejected(
            400, 'Transfer-Encoding does not end in chunked, or is no list of codings with chunked once'
        )
    if earlier:
        raise MessageRejected(501, 'Transfer-Encoding has a coding beside chunked', framing=True)


def _is_coding(coding: bytes) -> bool:
    """Whether it is a transfer coding, with or without parameters, and not chunked."""
    name, *parameters = (part.strip(b' \t') for part in coding.split(b';'))
    return is_token(name) and name != b'chunked' and all(map(_is_parameter, parameters))


def _is_parameter(parameter: bytes) -> bool:
    name, _, value = parameter.partition(b'=')
    return is_token(name.rstrip(b' \t')) and is_token(value.lstrip(b' \t'))  # a quoted string is nobody's


def keeps_alive(version: tuple[int, int], connection: bytes | None) -> bool:
    """Whether a connection goes on after this message (RFC 9112 §9.3), by version and the value of Connection."""
    if connection is None:
        return version == (1, 1)
    tokens = [token.strip(b' \t') for token in connection.lower().split(b',')]
    return b'close' not in tokens and (version == (1, 1) or b'keep-alive' in tokens)


@lru_cache(maxsize=256)
def is_authority(value: bytes) -> bool:
    """Whether `value` is a host with an optional port (RFC 9110 §7.2, RFC 3986 §3.2.2). An empty host is none."""
    if len(value) > _LONGEST_HOST:
        return False
    if value[:1] == b'[':
        address, bracket, rest = value[1:].partition(b']')
        return bool(bracket) and _is_address(address) and (not rest or (rest[:1] == b':' and _is_port(rest[1:])))
    host, _, port = value.partition(b':')
    return _is_reg_name(host) and _is_port(port)


def _is_port(port: bytes) -> bool:
    return not port or (port.isdigit() and len(port) <= 5 and int(port) <= 65535)


def _is_reg_name(host: bytes) -> bool:
    literal, *escapes = host.split(b'%')
    pieces = [literal, *(escape[2:] for escape in escapes)]
    pairs = {escape[:2] for escape in escapes}
    return bool(host) and HEX_PAIRS.issuperset(pairs) and not b''.join(pieces).translate(None, _REG_NAME)


def _is_address(text: bytes) -> bool:
    """An IPv6 address, as far as characters and groups go; IPvFuture is nobody's."""
    head, gap, tail = text.partition(b'::')
    if b'::' in tail or text.translate(None, DIGITS + b'abcdefABCDEF:.'):
        return False
    groups = [group for side in (head, tail) if side for group in side.split(b':')]
    count = len(groups)
    if groups and b'.' in groups[-1] and (tail or not gap):
        if not _is_ipv4(groups.pop()):
            return False
        count += 1
    return all(0 < len(group) <= 4 and b'.' not in group for group in groups) and (count < 8 if gap else count == 8)


def _is_ipv4(text: bytes) -> bool:
    parts = text.split(b'.')
    return len(parts) == 4 and all(part.isdigit() and len(part) <= 3 and int(part) < 256 for part in parts)
