"""Validates the Host field, the Origin field and the CSRF token of requests. Pure functions."""

from __future__ import annotations

import hmac
from collections.abc import Collection
from hashlib import sha256
from re import sub
from urllib.parse import urlsplit

from zatotx.wire.http.host_names import is_address, is_loopback

CSRF_FIELD, CSRF_HEADER = 'csrf_token', 'X-CSRF-Token'
_MAX_SLUG = 40


def host_error(host: str, allowed_hosts: Collection[str]) -> str:
    """Return an error message if a request is rejected because of its Host field, otherwise ''. Host names must be
    configured because, unlike an address, a host name may be used for DNS rebinding."""
    name = host_name(host)
    if name and (is_address(name) or is_loopback(name) or name in {known.lower() for known in allowed_hosts}):
        return ''
    return f'The web admin is not known by the name {name[:100]!r}: add it to [web] hosts in its config/admin.toml.'


def host_name(host: str) -> str:
    """Return the name or address in a Host field, in lower case and without brackets, or '' if it is malformed."""
    try:
        return (urlsplit(f'//{host}').hostname or '').lower()
    except ValueError:
        return ''


def origin_error(host: str, origin: str | None, fetch_site: str | None) -> str:
    """Return an error message if a request that changes data is rejected because a page of another site sent it,
    otherwise ''. Browsers identify the site of the page in Origin or Sec-Fetch-Site (W3C Fetch Metadata)."""
    if fetch_site not in (None, 'same-origin', 'none'):
        return 'This change comes from a page of another site.'
    if origin is None:
        return ''
    try:
        parts = urlsplit(origin)
    except ValueError:
        return 'The Origin of this change is malformed.'
    if parts.scheme not in ('http', 'https') or parts.netloc.lower() != host.lower():
        return 'This change comes from a page of another site.'
    return ''


def csrf_token(secret: str) -> str:
    """Return the CSRF token for a session token, or for the cookie of a login form. The CSRF token reveals nothing
    about the secret."""
    return hmac.new(secret.encode(), b'zatotx web admin: CSRF', sha256).hexdigest()


def is_valid_csrf_token(secret: str, presented: str | None) -> bool:
    """Return whether a CSRF token belongs to the secret. The comparison takes constant time."""
    return bool(secret) and hmac.compare_digest(csrf_token(secret).encode(), (presented or '').encode())


def cookie_name(purpose: str, cluster: str, *, is_secure: bool) -> str:
    """Return the name of a cookie. The name contains the cluster, because browsers share cookies among all ports of a
    host. For HTTPS, a prefix binds the cookie to the host and to HTTPS (RFC 6265bis)."""
    slug = sub('[^A-Za-z0-9-]+', '-', cluster)[:_MAX_SLUG]
    digest = sha256(cluster.encode()).hexdigest()[:8]
    return f'{"__Host-" if is_secure else ""}zatotx-{purpose}-{slug}-{digest}'


def is_safe_redirect(target: str) -> bool:
    """Return whether a redirect after the login leads to a page of this web admin."""
    return target.startswith('/') and not target.startswith('//') and '\\' not in target and target.isprintable()
