"""A response header: X-Frame-Options for all channels whose names begin with "framed."."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from zatotx.interfaces.connector_kind import SERVER, ConnectorKind


def response_headers(channel: Any) -> Callable[[Mapping[bytes, bytes]], Iterable[tuple[bytes, bytes]]] | None:
    """Return what adds the field to the responses of a channel."""
    if channel.name == 'framed.broken':
        raise RuntimeError('broken on purpose')
    return frame_options if channel.name.startswith('framed.') else None


def frame_options(headers: Mapping[bytes, bytes]) -> Iterable[tuple[bytes, bytes]]:
    """Return the field. A request with X-Bad gets an invalid one, which is left out."""
    return [(b'X-Frame-Options', b'DENY\r\n' if b'x-bad' in headers else b'DENY')]


kind = ConnectorKind(
    name='framing',
    title='X-Frame-Options',
    runs_in=SERVER,
    response_headers='zatotx.plugins.framing:response_headers',
)
