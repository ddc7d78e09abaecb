"""Cross-origin resource sharing (CORS): the rules by which browsers allow the scripts of other sites to use a channel
(the Fetch standard, https://fetch.spec.whatwg.org/#http-cors-protocol). Pure: no I/O.

CORS protects users of browsers, not the channel: requests of other sites are served as usual, and the browser hides the
response from the site. Preflight requests carry no credentials and are answered without authentication.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from zatotx.wire.http.host_names import Malformed, normalize_host
from zatotx.wire.http1.header_fields import is_field_name_token

ANY = '*'
_DEFAULT_PORTS = {'http': '80', 'https': '443'}
_MAX_HEADER_LIST = 4096  # maximum number of bytes of the requested header names that a preflight response repeats

HeaderFields = tuple[tuple[bytes, bytes], ...]


class CorsForbidden(Exception):  # noqa: N818 - named for the condition
    """A preflight request asks for an origin, method or header field that the channel does not allow. The message is
    one sentence for the network log of the browser."""


class CorsRules(msgspec.Struct, frozen=True, kw_only=True):
    """The CORS rules of a channel: allowed origins, methods and header fields."""

    origins: frozenset[str] | None  # lower case; None = any
    methods: tuple[str, ...] = ()  # () = those that the channel accepts
    headers: frozenset[str] | None = None  # lower case; None = any
    expose_headers: tuple[str, ...] = ()
    credentials: bool = False
    max_age: int = 600  # seconds

    @property
    def varies_by_origin(self) -> bool:
        """Whether responses depend on the requesting site."""
        return self.origins is not None

    def allows(self, origin: bytes) -> bool:
        """Return whether that site is allowed."""
        return self.origins is None or origin.decode('latin-1').lower() in self.origins

    def response_headers(self, origin: bytes | None) -> HeaderFields:
        """Return the CORS fields of a response; () if the site is not allowed, or without an Origin."""
        if origin is None or not self.allows(origin):
            return ()
        fields = list(self._allowed(origin))
        if self.expose_headers:
            fields.append((b'Access-Control-Expose-Headers', ', '.join(self.expose_headers).encode('ascii')))
        return tuple(fields)

    def preflight_headers(self, origin: bytes, method: bytes, requested_headers: bytes | None) -> HeaderFields:
        """Return the fields of the response to a preflight for a request with `method`, which the channel accepts, and
        the header names `requested_headers` (Access-Control-Request-Headers). Raises CorsForbidden."""
        if not self.allows(origin):
            raise CorsForbidden('This site (Origin) is not one that may use this channel')
        if not is_field_name_token(method):
            raise CorsForbidden('Access-Control-Request-Method is no name of a method')
        methods = self.methods or (method.decode('latin-1'),)
        if method.decode('latin-1') not in methods:
            raise CorsForbidden(f'Sites may use this channel with {", ".join(methods)} only')
        fields = [*self._allowed(origin), (b'Access-Control-Allow-Methods', ', '.join(methods).encode('ascii'))]
        if requested_headers:
            fields.append((b'Access-Control-Allow-Headers', self._allowed_headers(requested_headers)))
        fields.append((b'Access-Control-Max-Age', b'%d' % self.max_age))
        return tuple(fields)

    def _allowed(self, origin: bytes) -> HeaderFields:
        if self.origins is None:
            return ((b'Access-Control-Allow-Origin', b'*'),)
        allowed = (b'Access-Control-Allow-Origin', origin)
        return (allowed, (b'Access-Control-Allow-Credentials', b'true')) if self.credentials else (allowed,)

    def _allowed_headers(self, requested_headers: bytes) -> bytes:
        """Return the allowed names explicitly, since `*` does not include Authorization."""
        names = [name.strip() for name in requested_headers.split(b',')]
        if len(requested_headers) > _MAX_HEADER_LIST or not all(map(is_field_name_token, names)):
            raise CorsForbidden('Access-Control-Request-Headers is no list of names of fields')
        if self.headers is not None:
            refused = [name.decode('ascii') for name in names if name.decode('ascii').lower() not in self.headers]
            if refused:
                raise CorsForbidden(f'Sites may not send {", ".join(refused)} to this channel')
        return b', '.join(names)


def origin_error(origin: str) -> str:
    """Return an error message if a configured CORS origin is invalid, otherwise ''. Browsers send origins such as
    `https://shop.example:8443`, without a path and without a default port."""
    if origin == ANY:
        return ''
    if origin == 'null':
        return "is every site that hides what it is, so it cannot be told apart: take '*', without credentials"
    scheme, colon, authority = origin.partition('://')
    host, port = _split(authority)
    if not colon or not scheme.isascii() or not scheme.replace('-', '').replace('+', '').replace('.', '').isalnum():
        return 'must be a scheme and a host, such as https://shop.example'
    if any(character in authority for character in '/?#@, ') or not _is_host(host):
        return 'must have nothing but a host, and a port where it is not the usual one, behind ://'
    if port is not None and not (port.isdigit() and len(port) < 6 and 0 < int(port) < 65_536):
        return 'has a port that is none'
    if port is not None and port == _DEFAULT_PORTS.get(scheme.lower()):
        return f'must do without :{port}, as browsers leave out the usual port'
    return ''


def header_names_error(names: Sequence[str]) -> str:
    """Return an error message if a list of header field names is invalid, otherwise ''."""
    for name in names:
        if not name.isascii() or not is_field_name_token(name.encode('ascii')):
            return f'{name!r} is no name of a field'
    return f"must be {ANY!r} alone, or names" if ANY in names and len(names) > 1 else ''


def _split(authority: str) -> tuple[str, str | None]:
    """Split an authority into host and port, None = no port; an IPv6 address keeps its brackets."""
    bracket = authority.find(']') + 1
    host, colon, port = authority[bracket:].partition(':')
    return authority[:bracket] + host, port if colon else None


def _is_host(host: str) -> bool:
    try:
        return host.isascii() and bool(host) and bool(normalize_host(host))
    except Malformed:
        return False
