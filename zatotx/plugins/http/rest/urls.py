"""Parses URLs for the client."""

from __future__ import annotations

from zatotx.plugins.http.client.call import Origin
from zatotx.rules.http.redirects import parse_target


def split_url(url: str) -> tuple[Origin, bytes]:
    """Return the origin of a URL, and its path and query. Raises RedirectError, a ValueError, for anything but an http
    or https URL."""
    parsed = parse_target(url)
    return Origin('https' if parsed.secure else 'http', parsed.host, parsed.port), parsed.target.encode('ascii')
