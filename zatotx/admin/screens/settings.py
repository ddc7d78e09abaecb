"""What a browser chooses for itself: time zone, colors. Kept in a cookie, because the admin owns no state."""

from __future__ import annotations

from zatotx.admin.application import COLORS, THEMES, ScreenRoute
from zatotx.admin.page_request import PageRequest
from zatotx.admin.rendering import time_zones
from zatotx.admin.responses import Page, Redirect, Response


async def show(request: PageRequest) -> Response:
    """Show the form."""
    values = {'title': 'Settings', 'zones': sorted(time_zones()), 'themes': THEMES, 'colors': COLORS}
    return Page('settings.html', values)


async def save(request: PageRequest) -> Response:
    """Keep the choice in the browser."""
    chosen = {name: request.text(name) for name in ('zone', 'theme', 'color')}
    return Redirect('/settings', 'Saved.', preferences=chosen)


ROUTES = (
    ScreenRoute('GET', '/settings', show),
    ScreenRoute('POST', '/settings', save, changes=False),
)
