"""What the handlers of the screens return, and the header fields that every response carries."""

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
    """A page drawn from a template. A request by htmx for the element `fragment` gets the block of that name only."""

    template: str
    values: Mapping[str, Any] = field(factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(factory=dict)


@frozen
class Redirect:
    """The browser is to show another page, with `message` at its top, and a button that takes the change back."""

    target: str
    message: str = ''
    undo: str = ''  # revisions that the button takes back, separated by commas; '' = there is no button
    ends_session: bool = False
    preferences: Mapping[str, str] | None = None  # what the browser is to remember; None = as before


@frozen
class FileDownload:
    """A file."""

    content: bytes
    filename: str
    content_type: str = 'application/octet-stream'


@frozen
class EventStream:
    """The live figures of the cluster, as server-sent events until the browser leaves."""


Response = Page | Redirect | FileDownload | EventStream
