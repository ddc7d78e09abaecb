"""Validation of URLs of token issuers and authorization servers, which must use TLS."""

from __future__ import annotations

from urllib.parse import urlsplit

from zatotx.wire.http.host import is_loopback


def secure_url_error(url: str, *, no_user_reason: str, http_risk: str) -> str:
    """Returns the error of a URL, or '': it must be https, or http on loopback. `no_user_reason`: why it must not
    contain a user name and password; `http_risk`: what an attacker could do with plain http. Both are clauses of the
    error message."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or '', parts.port
    except ValueError:
        return 'must be a URL'
    if not url.isascii() or not url.isprintable() or ' ' in url:
        return 'must be a URL, with what is not ASCII encoded'
    if parts.scheme not in ('https', 'http') or not host:
        return 'must be a URL that begins with https://'
    if '@' in parts.netloc:
        return f'must have no user name or password: {no_user_reason}'
    if '#' in url:
        return 'must have no fragment'
    if parts.scheme == 'http' and not is_loopback(host):
        return f'must begin with https://: by plain http anybody on the way could {http_risk}'
    return ''
