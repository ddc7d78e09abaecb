"""Follows redirects of outgoing calls: creates the redirected request, and removes the header fields that it must not
contain, by RFC 9110 §15.4 and the Fetch standard. Pure functions.
"""

from __future__ import annotations

from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from attrs import frozen

from zatotx.wire.http.host_names import Malformed, normalize_host

REDIRECT_STATUSES = frozenset((301, 302, 303, 307, 308))
_DEFAULT_PORTS = {'http': 80, 'https': 443}
_MAX_LOCATION = 8_192  # maximum length of a Location
_URL_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"  # allowed in URLs besides letters, digits and -._ , for escapes too

# Header fields that carry credentials. Vendor-specific ones are recognized by parts of their names.
_CREDENTIALS = frozenset((
    b'authorization', b'cookie', b'cookie2', b'proxy-authorization', b'x-zato-user', b'x-zato-password',
))
_SECRET_PARTS = (b'api-key', b'apikey', b'api_key', b'token', b'secret', b'password', b'auth', b'session', b'signature')
_BODY_PREFIXES = (b'content-', b'transfer-encoding', b'expect', b'digest', b'trailer')


class RedirectError(ValueError):
    """The redirect cannot be followed. The message is a clause that gives the reason."""


@frozen
class RedirectTarget:
    """The target of a redirect: scheme, host, port and request target of a URL."""

    secure: bool
    host: str  # as returned by normalize_host
    port: int
    target: str = '/'  # path and query

    def same_origin(self, other: RedirectTarget) -> bool:
        return (self.secure, self.host, self.port) == (other.secure, other.host, other.port)

    @property
    def url(self) -> str:
        """The URL, without a default port."""
        scheme = 'https' if self.secure else 'http'
        host = f'[{self.host}]' if ':' in self.host else self.host
        port = '' if self.port == _DEFAULT_PORTS[scheme] else f':{self.port}'
        return f'{scheme}://{host}{port}{self.target}'


@frozen
class RedirectedRequest:
    """The request that is sent after a redirect."""

    method: str
    target: RedirectTarget
    keeps_body: bool
    keeps_credentials: bool


def parse_redirect_target(url: str) -> RedirectTarget:
    """Parse an absolute http or https URL; ignore the user information and the fragment. Raises RedirectError."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS:
            raise RedirectError('is to a URL that is not of http or https')
        host = normalize_host(unquote(parts.hostname or ''))
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except RedirectError:
        raise
    except (Malformed, ValueError):
        raise RedirectError('is to something that is no URL') from None
    return RedirectTarget(parts.scheme == 'https', host, port, urlunsplit(('', '', parts.path or '/', parts.query, '')))


def follow_redirect(
    status: int, method: str, current: RedirectTarget, location: bytes, *, has_body: bool
) -> RedirectedRequest:
    """Return the request to send after a redirect response whose Location field is `location`. Raises RedirectError.

    303 changes all methods but HEAD to GET; 301 and 302 change POST to GET, as browsers and requests do, and keep other
    methods. Requests that keep their method keep their body, but never from https to http.
    """
    target = _resolve_location(current, location)
    to_get = (status == 303 and method != 'HEAD') or (status in (301, 302) and method == 'POST')
    if has_body and not to_get and current.secure and not target.secure:
        raise RedirectError('would send in the clear a body that was meant for TLS')
    return RedirectedRequest('GET' if to_get else method, target, not to_get, target.same_origin(current))


def is_credential_field(name: bytes) -> bool:
    """Return whether a header field may contain credentials, which must not be sent to other origins. The name may be
    in any case."""
    name = name.lower()
    return name in _CREDENTIALS or any(part in name for part in _SECRET_PARTS)


def is_body_field(name: bytes) -> bool:
    """Return whether a header field describes the request body. Such a field is removed when the body is removed (Fetch
    §4.4). The name may be in any case."""
    return name.lower().startswith(_BODY_PREFIXES)


def _resolve_location(current: RedirectTarget, location: bytes) -> RedirectTarget:
    """Resolve a Location against the current target. Percent-encodes invalid characters first, since many servers send
    UTF-8 or spaces."""
    if not location or len(location) > _MAX_LOCATION:
        raise RedirectError(f'has a Location of no length, or of more than {_MAX_LOCATION} bytes')
    try:
        url = urljoin(current.url, quote(location, safe=_URL_CHARACTERS))
    except ValueError:
        raise RedirectError('is to something that is no URL') from None
    return parse_redirect_target(url)
