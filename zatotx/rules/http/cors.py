"""Cross-origin resource sharing: what a browser is told of who may use a channel from another site (the Fetch standard,
https://fetch.spec.whatwg.org/#http-cors-protocol). Pure.

It protects users of browsers, not the channel: a request of a site that may not is served like any other, and it is
the browser that keeps the answer from the site. What a browser asks before it sends anything (the preflight) is
answered without credentials, since it brings none.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from zatotx.wire.http.host import Malformed, ascii_host
from zatotx.wire.http1.fields import is_token

ANY = '*'
_DEFAULT_PORTS = {'http': '80', 'https': '443'}
_LONGEST = 4096  # bytes of a field that a preflight may have repeated to it

Fields = tuple[tuple[bytes, bytes], ...]


class CorsForbidden(Exception):  # noqa: N818 - what it is
    """A preflight asks for more than is allowed: one sentence for whoever reads the browser's network log."""


class CorsRules(msgspec.Struct, frozen=True, kw_only=True):
    """Which sites may use a channel, and how."""

    origins: frozenset[str] | None  # lower case; None = any
    methods: tuple[str, ...] = ()  # () = those the channel takes
    headers: frozenset[str] | None = None  # lower case; None = any
    expose: tuple[str, ...] = ()
    credentials: bool = False
    max_age: int = 600  # seconds

    @property
    def varies(self) -> bool:
        """Whether answers depend on who asks."""
        return self.origins is not None

    def allows(self, origin: bytes) -> bool:
        """Whether that site may."""
        return self.origins is None or origin.decode('latin-1').lower() in self.origins

    def of_answer(self, origin: bytes | None) -> Fields:
        """Fields of an answer to a request of that site; () where it may not, or where no site asks."""
        if origin is None or not self.allows(origin):
            return ()
        fields = list(self._allowed(origin))
        if self.expose:
            fields.append((b'Access-Control-Expose-Headers', ', '.join(self.expose).encode('ascii')))
        return tuple(fields)

    def of_preflight(self, origin: bytes, method: bytes, asked: bytes | None) -> Fields:
        """Fields of the answer to a preflight: may that site send a request of `method`, which the channel takes, with
        these fields (Access-Control-Request-Headers)? Raises CorsForbidden."""
        if not self.allows(origin):
            raise CorsForbidden('This site (Origin) is not one that may use this channel')
        if not is_token(method):
            raise CorsForbidden('Access-Control-Request-Method is no name of a method')
        methods = self.methods or (method.decode('latin-1'),)
        if method.decode('latin-1') not in methods:
            raise CorsForbidden(f'Sites may use this channel with {", ".join(methods)} only')
        fields = [*self._allowed(origin), (b'Access-Control-Allow-Methods', ', '.join(methods).encode('ascii'))]
        if asked:
            fields.append((b'Access-Control-Allow-Headers', self._allowed_headers(asked)))
        fields.append((b'Access-Control-Max-Age', b'%d' % self.max_age))
        return tuple(fields)

    def _allowed(self, origin: bytes) -> Fields:
        if self.origins is None:
            return ((b'Access-Control-Allow-Origin', b'*'),)
        allowed = (b'Access-Control-Allow-Origin', origin)
        return (allowed, (b'Access-Control-Allow-Credentials', b'true')) if self.credentials else (allowed,)

    def _allowed_headers(self, asked: bytes) -> bytes:
        """By name, as `*` would stand for all of them but Authorization."""
        names = [name.strip() for name in asked.split(b',')]
        if len(asked) > _LONGEST or not all(map(is_token, names)):
            raise CorsForbidden('Access-Control-Request-Headers is no list of names of fields')
        if self.headers is not None:
            refused = [name.decode('ascii') for name in names if name.decode('ascii').lower() not in self.headers]
            if refused:
                raise CorsForbidden(f'Sites may not send {", ".join(refused)} to this channel')
        return b', '.join(names)


def origin_mistake(origin: str) -> str:
    """What is wrong with an origin as people write it, '' for nothing: browsers send `https://shop.example:8443`,
    nothing behind it and no port that goes without saying."""
    if origin == ANY:
        return ''
    if origin == 'null':
        return "is every site that hides what it is, so it cannot be told apart: take '*', without credentials"
    scheme, colon, place = origin.partition('://')
    host, port = _split(place)
    if not colon or not scheme.isascii() or not scheme.replace('-', '').replace('+', '').replace('.', '').isalnum():
        return 'must be a scheme and a host, such as https://shop.example'
    if any(character in place for character in '/?#@, ') or not _is_host(host):
        return 'must have nothing but a host, and a port where it is not the usual one, behind ://'
    if port is not None and not (port.isdigit() and len(port) < 6 and 0 < int(port) < 65_536):
        return 'has a port that is none'
    if port is not None and port == _DEFAULT_PORTS.get(scheme.lower()):
        return f'must do without :{port}, as browsers leave out the usual port'
    return ''


def header_mistake(names: Sequence[str]) -> str:
    """What is wrong with names of fields, '' for nothing."""
    for name in names:
        if not name.isascii() or not is_token(name.encode('ascii')):
            return f'{name!r} is no name of a field'
    return f"must be {ANY!r} alone, or names" if ANY in names and len(names) > 1 else ''


def _split(place: str) -> tuple[str, str | None]:
    """Host and port of an authority, None = it has no port; an IPv6 address keeps its brackets."""
    bracket = place.find(']') + 1
    host, colon, port = place[bracket:].partition(':')
    return place[:bracket] + host, port if colon else None


def _is_host(host: str) -> bool:
    try:
        return host.isascii() and bool(host) and bool(ascii_host(host))
    except Malformed:
        return False
