"""Parses and validates header and trailer fields (RFC 9110 §5), and interprets the fields that determine framing or
routing.

Used for requests, and for responses by the HTTP client.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from zatotx.wire.http1.message_limits import HttpMessageRejected

DIGITS = b'0123456789'
ALPHA = b'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'
TOKEN_CHARACTERS = b"!#$%&'*+-.^_`|~" + DIGITS + ALPHA
VALUE_CHARACTERS = b'\t' + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
HEX_DIGITS = frozenset(DIGITS + b'abcdefABCDEF')
HEX_PAIRS = frozenset(bytes((high, low)) for high in HEX_DIGITS for low in HEX_DIGITS)
# unreserved and sub-delims of RFC 3986: the characters of a reg-name other than percent-encoded octets
_REG_NAME_CHARACTERS = b'-._~' + b"!$&'()*+,;=" + DIGITS + ALPHA
_MAX_HOST_LENGTH = 255 + 6
_MAX_LENGTH_DIGITS = 19  # digits: a signed 64-bit integer

# Fields with a single value (RFC 9110 and 9112): duplicates would make recipients interpret a message differently.
# User-Agent and the like are singletons too, but do not affect the interpretation.
SINGLE_VALUE_FIELDS = frozenset((
    b'authorization', b'content-length', b'content-location', b'content-range', b'content-type', b'date', b'expect',
    b'from', b'host', b'if-modified-since', b'if-range', b'if-unmodified-since', b'max-forwards',
    b'proxy-authorization', b'range', b'referer',
))
# Fields that determine framing, routing or authorization. CGI and WSGI programs behind us treat '_' and '-' in names
# alike.
PROTECTED_FIELDS = frozenset((
    b'authorization', b'connection', b'content-length', b'content-type', b'expect', b'host', b'keep-alive',
    b'proxy-authorization', b'proxy-connection', b'te', b'trailer', b'transfer-encoding', b'upgrade',
    b'x-forwarded-for', b'x-forwarded-host', b'x-forwarded-proto',
))
# Fields that RFC 9110 §6.5.1 forbids in trailers: framing, routing, authentication, request modifiers, content format.
# Content-Type is allowed: trailers are never merged into the head, so it has no effect.
FORBIDDEN_TRAILERS = (SINGLE_VALUE_FIELDS | PROTECTED_FIELDS | frozenset((
    b'age', b'cache-control', b'content-encoding', b'cookie', b'if-match', b'if-none-match', b'pragma',
    b'proxy-authenticate', b'set-cookie', b'www-authenticate',
))) - {b'content-type'}


def is_field_name_token(name: bytes) -> bool:
    """Return whether `name` is a token (RFC 9110 §5.6.2), as field names must be."""
    return bool(name) and not name.translate(None, TOKEN_CHARACTERS)


def is_field_value(value: bytes) -> bool:
    """Return whether `value` has no control characters other than tab (RFC 9110 §5.5)."""
    return not value.translate(None, VALUE_CHARACTERS)


def parse_field_line(line: bytes) -> tuple[bytes, bytes]:
    """Parse one field line without its line ending. Returns the name as sent and the value without surrounding
    whitespace. Raises HttpMessageRejected (400)."""
    name, colon, value = line.partition(b':')
    if not colon or not is_field_name_token(name):
        raise HttpMessageRejected(400, 'A field line has no name of legal characters followed at once by a colon')
    if not is_field_value(value):
        raise HttpMessageRejected(400, 'A field value has a control character')
    return name, value.strip(b' \t')


def check_lookalike_names(names: Iterable[bytes]) -> None:
    """Reject field names that other programs may confuse with a framing or routing field, such as `Content_Length`. The
    names must be in lower case."""
    for name in names:
        if b'_' in name and name.replace(b'_', b'-') in PROTECTED_FIELDS:
            raise HttpMessageRejected(
                400, f'The field {name.decode("ascii")} is spelled with _ where the field it imitates has -'
            )


def check_field_lengths(head: bytes, max_length: int) -> None:
    """Reject a head (431) if a field line, including its line end, is longer than `max_length` bytes."""
    lines = iter(head.split(b'\r\n'))
    next(lines)
    if any(len(line) + 2 > max_length for line in lines):
        raise HttpMessageRejected(431, f'A field of the head is longer than {max_length} bytes')


def combine_fields(raw: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the fields by lower-case name. The values of repeated fields are joined in order with ', ', and the values
    of cookies with '; '. Rejects repeated singleton fields (400)."""
    fields: dict[bytes, bytes] = {}
    for name, value in raw:
        key = name.lower()
        if key not in fields:
            fields[key] = value
        elif key in SINGLE_VALUE_FIELDS:
            raise HttpMessageRejected(400, f'The field {key.decode("ascii")} stands twice')
        else:
            fields[key] += (b'; ' if key == b'cookie' else b', ') + value
    return fields


def parse_content_length(value: bytes) -> int:
    """Parse Content-Length, which must be 1 to 19 ASCII digits. Rejects other values (400)."""
    if not value.isdigit() or len(value) > _MAX_LENGTH_DIGITS:
        raise HttpMessageRejected(400, 'Content-Length is not one decimal number of at most 19 digits')
    return int(value)


def check_transfer_encoding(value: bytes) -> None:
    """Reject a request whose Transfer-Encoding is not just chunked. The status is 400 if the end of the body is
    unknown, because chunked is repeated or not the last coding (RFC 9112 §6.3), and 501 if the body has another,
    unsupported transfer coding (§6.1)."""
    if value == b'chunked':
        return
    *earlier, last = (coding.strip(b' \t').lower() for coding in value.split(b','))
    if last != b'chunked' or not all(map(_is_coding, earlier)):
        raise HttpMessageRejected(
            400, 'Transfer-Encoding does not end in chunked, or is no list of codings with chunked once'
        )
    if earlier:
        raise HttpMessageRejected(501, 'Transfer-Encoding has a coding beside chunked', is_framing_error=True)


def _is_coding(coding: bytes) -> bool:
    """Return whether the text is a transfer coding other than chunked, with or without parameters."""
    name, *parameters = (part.strip(b' \t') for part in coding.split(b';'))
    return is_field_name_token(name) and name != b'chunked' and all(map(_is_parameter, parameters))


def _is_parameter(parameter: bytes) -> bool:
    name, _, value = parameter.partition(b'=')
    # quoted strings are not used in practice
    return is_field_name_token(name.rstrip(b' \t')) and is_field_name_token(value.lstrip(b' \t'))


def is_persistent(version: tuple[int, int], connection: bytes | None) -> bool:
    """Return whether the connection stays open after this message (RFC 9112 §9.3), according to its version and
    Connection field."""
    if connection is None:
        return version == (1, 1)
    tokens = [token.strip(b' \t') for token in connection.lower().split(b',')]
    return b'close' not in tokens and (version == (1, 1) or b'keep-alive' in tokens)


@lru_cache(maxsize=256)
def is_authority(value: bytes) -> bool:
    """Return whether `value` is a non-empty host with an optional port (RFC 9110 §7.2, RFC 3986 §3.2.2)."""
    if len(value) > _MAX_HOST_LENGTH:
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
    return bool(host) and HEX_PAIRS.issuperset(pairs) and not b''.join(pieces).translate(None, _REG_NAME_CHARACTERS)


def _is_address(text: bytes) -> bool:
    """Return whether the text has the characters and groups of an IPv6 address; IPvFuture is not supported."""
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
