"""Serializes the heads of HTTP/1.1 requests. No I/O.

    data = request_head('POST', b'/orders', b'crm.example.com', fields, COUNTED % len(body)) + body
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import msgspec

from zatotx.wire.http1.header_fields import VALUE_CHARACTERS, is_field_name_token, is_field_value

# Fields that the writer controls: duplicates would make the request ambiguous.
RESERVED_FIELDS = frozenset(
    (b'connection', b'content-length', b'expect', b'keep-alive', b'te', b'trailer', b'transfer-encoding', b'upgrade')
)
# Ends of heads including the empty line: the framing of the body.
NO_BODY = b'\r\n'
CONTENT_LENGTH = b'Content-Length: %d\r\n\r\n'
CHUNKED = b'Transfer-Encoding: chunked\r\n\r\n'
EXPECT = b'Expect: 100-continue\r\n'
CLOSE = b'Connection: close\r\n'
TARGET_CHARACTERS = bytes(range(0x21, 0x7F))  # characters allowed in a target


class HeaderFields(msgspec.Struct, frozen=True):
    """Validated header fields. Many requests share the names of these fields, so the names are validated only once."""

    names: tuple[bytes, ...]
    values: tuple[bytes, ...]
    validated: int = 0  # number of leading values that `of` has validated

    @classmethod
    def from_pairs(cls, fields: Iterable[tuple[bytes, bytes]]) -> HeaderFields:
        """Create fields from pairs and validate them. Raises ValueError for invalid values, like `request_head`."""
        pairs = list(fields)
        _check_values(pairs)
        return cls(tuple(name for name, _ in pairs), tuple(value for _, value in pairs), len(pairs))

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return zip(self.names, self.values, strict=True)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f'<Named {len(self)} fields>'  # values may be credentials


Fields = Sequence[tuple[bytes, bytes]] | HeaderFields


def write_request_head(method: str, target: bytes, host: bytes, fields: Fields, ending: bytes) -> bytes:
    """Return the request line and the header fields as bytes. `ending` contains the last fields, which the caller
    controls, and the empty line.

    `host` is the value of the Host field, unless `fields` contains one. Raises ValueError, without showing values, if
    something contains a line end or control character, or a field is one of OWNED.
    """
    if not target or target.translate(None, TARGET_CHARACTERS):
        raise ValueError('The target of a request has a space or another character that must be percent-encoded')
    if type(fields) is HeaderFields:
        names, values = fields.names, fields.values
        new = values[fields.validated :]
    else:
        names, new = tuple([name for name, _ in fields]), tuple([value for _, value in fields])
        values = new
    if b''.join(new).translate(None, VALUE_CHARACTERS):
        _check_values(fields)
    template, names_host = _field_template(names)
    lines = template % values
    if names_host:
        return b'%b %b HTTP/1.1\r\n%b%b' % (_encode_method(method), target, lines, ending)
    return b'%b %b HTTP/1.1\r\nHost: %b\r\n%b%b' % (_encode_method(method), target, host, lines, ending)


@lru_cache(maxsize=64)
def _encode_method(method: str) -> bytes:
    if not method.isascii() or not is_field_name_token(method.encode('ascii')):
        raise ValueError(f'The method {method!r} is not one word')
    return method.encode('ascii')


@lru_cache(maxsize=1024)
def _field_template(names: tuple[bytes, ...]) -> tuple[bytes, bool]:
    """Return a template of the field lines with these names, which are validated, and whether Host is among them.
    Cached, since programs usually send the same fields."""
    for name in names:
        if not is_field_name_token(name):
            raise ValueError(f'The name of the field {name!r} has characters that no name may have')
        if name.lower() in RESERVED_FIELDS:
            raise ValueError(f'The field {name.decode("ascii")} is written by the client and cannot be set')
    host_count = [name.lower() for name in names].count(b'host')
    if host_count > 1:
        raise ValueError('The field Host stands twice')
    return b''.join([b'%b: %%b\r\n' % name.replace(b'%', b'%%') for name in names]), host_count == 1


def _check_values(fields: Iterable[tuple[bytes, bytes]]) -> None:
    for name, value in fields:
        if not is_field_value(value):
            raise ValueError(f'The value of the field {name.decode("ascii")} has control characters')
