"""Preserves a submitted form if the session has ended, until the user has logged in again. Secrets are removed from the
form. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import field, frozen

from zatotx.admin.request_guard import CSRF_FIELD, is_safe_redirect
from zatotx.wire.url_masking import is_secret_name

REPEAT, SHOWN, PREFIX = 'repeat', 'repeat_shown', 'kept.'  # of the login form: path, whether it redisplays, fields
REDISPLAY = 'redisplay'  # a field of a form that is to be shown again as it was filled in, and not to be executed


@frozen
class KeptForm:
    """A submitted form that is preserved. `target` is the path to which it was sent, or '' if there is none."""

    target: str = ''
    fields: Sequence[tuple[str, str]] = field(factory=tuple, repr=False)
    redisplays: bool = False


def keep_form(target: str, form: Mapping[str, Sequence[str]], *, redisplays: bool) -> KeptForm:
    """Preserve a form that was sent to the path `target`. Secrets are omitted, so the user must type them again."""
    return KeptForm(target, [
        (name, value)
        for name, values in form.items()
        for value in values
        if name not in (CSRF_FIELD, REDISPLAY) and not is_secret_name(name)
    ], redisplays)  # fmt: skip


def read_kept_form(login_form: Mapping[str, Sequence[str]]) -> KeptForm:
    """Return the preserved form that a login form contains."""
    target = (login_form.get(REPEAT) or [''])[0]
    fields = [
        (name.removeprefix(PREFIX), value)
        for name, values in login_form.items()
        if name.startswith(PREFIX)
        for value in values
    ]
    return KeptForm(target, fields, bool(login_form.get(SHOWN))) if is_safe_redirect(target) else KeptForm()
