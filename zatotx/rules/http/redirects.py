"""Where a redirection leads, and what may go along: RFC 9110 §15.4, and the Fetch standard where that leaves it to
clients. Pure.
"""

from __future__ import annotations

from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from attrs import frozen

from zatotx.wire.http.host import Malformed, ascii_host

REDIRECTIONS = frozenset((301, 302, 303, 307, 308))
_PORTS = {'http': 80, 'https': 443}
_LONGEST = 8_192  # characters of a Location
_KEPT = "!#$%&'()*+,/:;=?@[]~"  # beside letters, digits and -._ : what a URL may hold, its escapes included

# Fields that say who asks. Names of any system's keys are told by these parts of them.
_CREDENTIALS = frozenset((
    b'authorization', b'cookie', b'cookie2', b'proxy-authorization', b'x-zato-user', b'x-zato-password',
))
_SECRET_PARTS = (b'api-key', b'apikey', b'api_key', b'token', b'secret', b'password', b'auth', b'session', b'signature')
_OF_BODY = (b'content-', b'transfer-encoding', b'expect', b'digest', b'trailer')


class RedirectError(ValueError):
    """A redirection that cannot be followed. The text says why, as the rest of a sentence about it."""


@frozen
class RedirectTarget:
    """What a URL says of where to ask. Two places are of one origin (RFC 6454) when all but `target` is the same."""

    secure: bool
    host: str  # as ascii_host gives it
    port: int
    target: str = '/'  # path and query

    def same_origin(self, other: RedirectTarget) -> bool:
        return (self.secure, self.host, self.port) == (other.secure, other.host, other.port)

    @property
    def url(self) -> str:
        """As it is written, the usual port left out."""
        scheme = 'https' if self.secure else 'http'
        host = f'[{self.host}]' if ':' in self.host else self.host
        port = '' if self.port == _PORTS[scheme] else f':{self.port}'
        return f'{scheme}://{host}{port}{self.target}'


@frozen
class RedirectedRequest:
    """The next request of a call that was redirected."""

    method: str
    place: RedirectTarget
    keeps_body: bool
    keeps_credentials: bool


def parse_target(url: str) -> RedirectTarget:
    """Where an absolute URL of http or https leads; a user and a fragment in it are left out. Raises Misled."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in _PORTS:
            raise RedirectError('is to a URL that is not of http or https')
        host = ascii_host(unquote(parts.hostname or ''))
        port = parts.port or _PORTS[parts.scheme]
    except RedirectError:
        raise
    except (Malformed, ValueError):
        raise RedirectError('is to something that is no URL') from None
    return RedirectTarget(parts.scheme == 'https', host, port, urlunsplit(('', '', parts.path or '/', parts.query, '')))


def next_request(
    status: int, method: str, place: RedirectTarget, location: bytes, *, has_body: bool
) -> RedirectedRequest:
    """Where an answer of one of the REDIRECTIONS with this Location leads. Raises Misled.

    303 makes a GET of all but HEAD; 301 and 302 make one of POST, as every browser and requests do, and leave other
    methods as they are. What stays as it is takes its body along, yet never from https to http.
    """
    there = _joined(place, location)
    to_get = (status == 303 and method != 'HEAD') or (status in (301, 302) and method == 'POST')
    if has_body and not to_get and place.secure and not there.secure:
        raise RedirectError('would send in the clear a body that was meant for TLS')
    return RedirectedRequest('GET' if to_get else method, there, not to_get, there.same_origin(place))


def is_credential(name: bytes) -> bool:
    """Whether a field (its name in any case) may say who asks, so that no other origin must see it."""
    name = name.lower()
    return name in _CREDENTIALS or any(part in name for part in _SECRET_PARTS)


def is_body_header(name: bytes) -> bool:
    """Whether a field (its name in any case) speaks of a body, and goes with it (Fetch §4.4)."""
    return name.lower().startswith(_OF_BODY)


def _joined(place: RedirectTarget, location: bytes) -> RedirectTarget:
    """Where a Location, seen from a place, leads. What must not stand in a URL is percent-encoded first: many write it
    as UTF-8, or with blanks."""
    if not location or len(location) > _LONGEST:
        raise RedirectError(f'has a Location of no length, or of more than {_LONGEST} bytes')
    try:
        url = urljoin(place.url, quote(location, safe=_KEPT))
    except ValueError:
        raise RedirectError('is to something that is no URL') from None
    return parse_target(url)
