"""Finds the fields in which a submitted form conflicts with changes that another user has saved in the meantime. Pure
functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

from zatotx.admin.forms import Control, Form, FormData, build_form
from zatotx.admin.type_catalog import TypeDescription


@frozen
class Difference:
    """One field with different values, both as text."""

    label: str
    typed: str
    saved: str


def find_differences(description: TypeDescription, typed: FormData, row: Mapping[str, Any]) -> list[Difference]:
    """Return the fields whose submitted values differ from the values of the row. Secrets are not compared, because
    their values are never shown."""
    saved = {one.name: one for one in _controls(build_form(description, row=row))}
    return [
        Difference(one.label, _text(one), _text(saved[one.name]))
        for one in _controls(build_form(description, row=row, typed=typed))
        if one.control != 'password' and one.name in saved and _text(one) != _text(saved[one.name])
    ]


def _controls(form: Form) -> Iterator[Control]:
    for control in (*form.first, *form.more):
        yield from _nested(control)


def _nested(control: Control) -> Iterator[Control]:
    if control.control != 'group':
        yield control
    for part in control.controls:
        yield from _nested(part)


def _text(control: Control) -> str:
    value = control.value
    if isinstance(value, bool):
        return 'Yes' if value else 'No'
    return ', '.join(map(str, value)) if isinstance(value, list) else str(value).replace('\r\n', '\n').strip()
