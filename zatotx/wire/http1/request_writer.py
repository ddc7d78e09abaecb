"""Heads of HTTP/1.1 requests, as bytes. No I/O.

    data = request_head('POST', b'/orders', b'crm.example.com', fields, COUNTED % len(body)) + body
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import msgspec

from zatotx.wire.http1.fields import VALUE, is_token, is_value

# Fields that the writer owns: two of one kind would make two requests of one.
OWNED = frozenset((b'connection', b'content-length', b'expect', b'keep-alive', b'te', b'trailer', b'transfer-encoding',
                   b'upgrade'))  # fmt: skip
# Ends of heads, up to the empty line: how the body is framed.
NO_BODY = b'\r\n'
COUNTED = b'Content-Length: %d\r\n\r\n'
CHUNKED = b'Transfer-Encoding: chunked\r\n\r\n'
EXPECT = b'Expect: 100-continue\r\n'
CLOSE = b'Connection: close\r\n'
VISIBLE = bytes(range(0x21, 0x7F))  # what a target may hold


class NamedFields(msgspec.Struct, frozen=True):
    """Fields of a request whose names many others have too: what is asked of names is asked once."""

    names: tuple[bytes, ...]
    values: tuple[bytes, ...]
    known: int = 0  # how many of the first values were looked at before, by `of`

    @classmethod
    def of(cls, fields: Iterable[tuple[bytes, bytes]]) -> NamedFields:
        """Of pairs, which are looked at now. Raises ValueError as `request_head`, of values."""
        pairs = list(fields)
        _check_values(pairs)
        return cls(tuple(name for name, _ in pairs), tuple(value for _, value in pairs), len(pairs))

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return zip(self.names, self.values, strict=True)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f'<Named {len(self)} fields>'  # values may be credentials


Fields = Sequence[tuple[bytes, bytes]] | NamedFields


def request_head(method: str, target: bytes, host: bytes, fields: Fields, ending: bytes) -> bytes:
    """The head of a request, up to its empty line, which is in `ending` after the fields that the writer owns.

    `host` is what the field Host says, unless it stands in `fields`. Raises ValueError, naming what but never showing
    a value, where something could end its line or the head, or a field is one of OWNED.
    """
    if not target or target.translate(None, VISIBLE):
        raise ValueError('The target of a request has a space or another character that must be percent-encoded')
    if type(fields) is NamedFields:
        names, values = fields.names, fields.values
        new = values[fields.known :]
    else:
        names, new = tuple([name for name, _ in fields]), tuple([value for _, value in fields])
        values = new
    if b''.join(new).translate(None, VALUE):
        _check_values(fields)
    blank, names_host = _blank(names)
    lines = blank % values
    if names_host:
        return b'%b %b HTTP/1.1\r\n%b%b' % (_method(method), target, lines, ending)
    return b'%b %b HTTP/1.1\r\nHost: %b\r\n%b%b' % (_method(method), target, host, lines, ending)


@lru_cache(maxsize=64)
def _method(method: str) -> bytes:
    if not method.isascii() or not is_token(method.encode('ascii')):
        raise ValueError(f'The method {method!r} is not one word')
    return method.encode('ascii')


@lru_cache(maxsize=1024)
def _blank(names: tuple[bytes, ...]) -> tuple[bytes, bool]:
    """Lines that take the values of fields of these names, each of which is checked, and whether Host is among them. A
    program mostly sends the same ones."""
    for name in names:
        if not is_token(name):
            raise ValueError(f'The name of the field {name!r} has characters that no name may have')
        if name.lower() in OWNED:
            raise ValueError(f'The field {name.decode("ascii")} is written by the client and cannot be set')
    hosts = [name.lower() for name in names].count(b'host')
    if hosts > 1:
        raise ValueError('The field Host stands twice')
    return b''.join([b'%b: %%b\r\n' % name.replace(b'%', b'%%') for name in names]), hosts == 1


def _check_values(fields: Iterable[tuple[bytes, bytes]]) -> None:
    for name, value in fields:
        if not is_value(value):
            raise ValueError(f'The value of the field {name.decode("ascii")} has control characters')
