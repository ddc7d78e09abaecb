"""The screen for display preferences (time zone and colors, stored in a cookie because the web admin stores no data)
and for the user's own password.
"""

from __future__ import annotations

from zatotx.admin.application import COLORS, THEMES, ScreenRoute
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.page_request import PageRequest
from zatotx.admin.rendering import time_zones
from zatotx.admin.responses import Page, Redirect, Response


async def show(request: PageRequest) -> Response:
    """Show the form for the preferences."""
    values = {'title': 'Settings', 'zones': sorted(time_zones()), 'themes': THEMES, 'colors': COLORS}
    return Page('settings.html', values)


async def show_password(request: PageRequest) -> Response:
    """Show the form for a new password."""
    return _password_page()


def _password_page(error: ApiError | None = None) -> Page:
    values = {'title': 'Change my password', 'messages': [] if error is None else error.messages,
              'errors': {} if error is None else error.field_errors}  # fmt: skip
    return Page('own_password.html', values, 200 if error is None else error.status)


async def change_password(request: PageRequest) -> Response:
    """Change the user's own password, which ends the session."""
    passwords = {name: request.text(name) for name in ('password', 'password1', 'password2')}
    try:
        await request.call('zato.admin.change-own-password', passwords)
    except ApiError as error:
        if error.status not in (400, 409, 429):
            raise
        return _password_page(error)
    return Redirect('/login', 'Your password is changed: log in with it.', ends_session=True)


async def save(request: PageRequest) -> Response:
    """Save the preferences in a cookie."""
    chosen = {name: request.text(name) for name in ('zone', 'theme', 'color')}
    return Redirect('/settings', 'Saved.', preferences=chosen)


ROUTES = (
    ScreenRoute('GET', '/settings', show),
    ScreenRoute('POST', '/settings', save, changes=False),
    ScreenRoute('GET', '/settings/password', show_password),
    ScreenRoute('POST', '/settings/password', change_password),
)
