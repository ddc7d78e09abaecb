"""What Zato's Models promise beyond a dataclass: a field that may be None may be left out, and numbers may be text."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from zatotx.service.io.typed_models import UNIONS, bare_type

# Zato's values of an optional field that nobody gave, by the first type that fits.
_ABSENT = ((str, ''), (bool, False), (int, 0), (float, 0.0))
_ABSENT_MADE = (list, dict)


def complete_model(declared: Any) -> bool:
    """Give the optional fields of every Zato Model in a type the defaults that they have in Zato, where their class has
    none; tells whether there is such a Model. Once a class; before the class is first converted to.

    Raises NameError for an annotation that names nothing."""
    found = False
    waiting, seen = [declared], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        waiting += typing.get_args(one)
        if isinstance(one, type) and dataclasses.is_dataclass(one):
            hints = typing.get_type_hints(one)
            waiting += hints.values()
            if getattr(one, 'zato_model', False):
                found = True
                _complete(one, hints)
    return found


def _complete(model: type, hints: dict[str, Any]) -> None:
    for field in dataclasses.fields(model):
        given = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if not given and _may_be_none(hints[field.name]):
            _make_optional(field, bare_type(hints[field.name]))


def _may_be_none(declared: Any) -> bool:
    return typing.get_origin(declared) in UNIONS and type(None) in typing.get_args(declared)


def _make_optional(field: dataclasses.Field[Any], declared: Any) -> None:
    plain = typing.get_origin(declared) or declared
    plain = plain if isinstance(plain, type) else object
    for kind in _ABSENT_MADE:
        if issubclass(plain, kind):
            field.default_factory = kind
            return
    field.default = next((value for kind, value in _ABSENT if issubclass(plain, kind)), None)
