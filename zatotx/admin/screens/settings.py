"""The screen for display preferences (time zone and colors, stored in a cookie because the web admin stores no data)
and for the user's own password.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from zatotx.admin.application import ScreenRoute
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.page_request import PageRequest
from zatotx.admin.preferences import time_zones
from zatotx.admin.responses import Page, Redirect, Response
from zatotx.admin.screens.objects import IN_PLACE
from zatotx.rules.display_preferences import CHOICES, DEFAULTS

LABELS = {'date_format': 'Date format', 'time_format': 'Time format', 'theme': 'Colors',
          'color': 'Color of this cluster'}  # fmt: skip
WORDS = {'auto': 'As the system'}


async def show(request: PageRequest) -> Response:
    """Show the form for the display preferences."""
    return _page(request, attrs.asdict(request.preferences))


def _page(request: PageRequest, chosen: Mapping[str, str], error: ApiError | None = None) -> Page:
    errors = {} if error is None else error.field_errors
    values = {'title': 'Settings', 'zones': sorted(time_zones()), 'chosen': chosen, 'labels': LABELS,
              'choices': CHOICES, 'words': WORDS, 'errors': errors, 'now': request.now,
              'messages': [] if error is None else error.messages}  # fmt: skip
    return Page('settings.html', values, 200 if error is None else error.status)


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
    """Store the display preferences of the user in the cluster."""
    chosen = {name: request.text(name) for name in DEFAULTS}
    if chosen['time_zone'] not in time_zones():
        error = ApiError(400, ['$.time_zone: is not the name of a time zone, such as Europe/Warsaw'])
        return _page(request, chosen, error)
    try:
        await request.call('zato.admin.change-own-settings', chosen)
    except ApiError as error:
        if error.status not in IN_PLACE:
            raise
        return _page(request, chosen, error)
    return Redirect('/settings', 'Saved.', preferences=chosen)


ROUTES = (
    ScreenRoute('GET', '/settings', show),
    ScreenRoute('POST', '/settings', save, changes=False),
    ScreenRoute('GET', '/settings/password', show_password),
    ScreenRoute('POST', '/settings/password', change_password),
)
