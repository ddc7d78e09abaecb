"""The result types of the handlers of screens, and the header fields of all responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

# No inline script or style, nothing from elsewhere, no frames.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
SECURITY_HEADERS: Mapping[str, str] = {
    'Content-Security-Policy': CONTENT_SECURITY_POLICY,
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Referrer-Policy': 'same-origin',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Permissions-Policy': 'camera=(), microphone=(), geolocation=()',
}


@frozen
class Page:
    """A page rendered from a template. If htmx requests the element `fragment`, only the block with that name is
    sent."""

    template: str
    values: Mapping[str, Any] = field(factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(factory=dict)


@frozen
class Redirect:
    """A redirect to another page, which displays `message` at its top."""

    target: str
    message: str = ''
    undo: str = ''  # revisions that the button takes back, separated by commas; '' = there is no button
    ends_session: bool = False
    preferences: Mapping[str, str] | None = None  # what the browser is to remember; None = as before


@frozen
class FileDownload:
    """A response that the browser downloads as a file."""

    content: bytes
    filename: str
    content_type: str = 'application/octet-stream'


@frozen
class EventStream:
    """The live statistics of the cluster, streamed as server-sent events until the browser disconnects."""


Response = Page | Redirect | FileDownload | EventStream
