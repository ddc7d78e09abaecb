"""Keeps what a user typed into a form whose session had ended, through the login, without its secrets. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from zatotx.admin.request_guard import CSRF_FIELD, is_safe_redirect
from zatotx.wire.url_masking import is_secret_name

REPEAT, SHOWN, PREFIX = 'repeat', 'repeat_shown', 'kept.'  # of the login form: path, whether it redisplays, fields
REDISPLAY = 'redisplay'  # a field of a form that is to be shown again as it was filled in, and not to be executed


@frozen
class KeptForm:
    """A form that was filled in. `target` is the path that it was sent to; '' = there is none. `redisplays`: the path
    shows the form again; otherwise the form is sent after a confirmation."""

    target: str = ''
    fields: Sequence[tuple[str, str]] = field(factory=tuple, repr=False)
    redisplays: bool = False


def keep_form(target: str, form: Mapping[str, Sequence[str]], *, redisplays: bool) -> KeptForm:
    """Return what was sent to a path, without secrets: they have to be typed again."""
    return KeptForm(target, [
        (name, value)
        for name, values in form.items()
        for value in values
        if name not in (CSRF_FIELD, REDISPLAY) and not is_secret_name(name)
    ], redisplays)  # fmt: skip


def read_kept_form(login_form: Mapping[str, Sequence[str]]) -> KeptForm:
    """Return the form that a login form carries."""
    target = (login_form.get(REPEAT) or [''])[0]
    fields = [
        (name.removeprefix(PREFIX), value)
        for name, values in login_form.items()
        if name.startswith(PREFIX)
        for value in values
    ]
    return KeptForm(target, fields, bool(login_form.get(SHOWN))) if is_safe_redirect(target) else KeptForm()
