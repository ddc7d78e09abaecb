"""URLs as the client takes them."""

from __future__ import annotations

from zatotx.plugins.http.client.call import Origin
from zatotx.rules.http.redirects import parse_target


def split_url(url: str) -> tuple[Origin, bytes]:
    """Where a URL leads, and the path and query that are asked for there. Raises Misled, a ValueError, for what is no
    URL of http or https."""
    place = parse_target(url)
    return Origin('https' if place.secure else 'http', place.host, place.port), place.target.encode('ascii')
