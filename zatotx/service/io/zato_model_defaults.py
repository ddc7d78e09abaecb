"""Sets the default values of Zato's Models on dataclasses, so that optional fields can be omitted."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from zatotx.service.io.typed_models import UNIONS, unwrap_type

# Zato's values of an omitted optional field; the first matching type applies.
_DEFAULTS = ((str, ''), (bool, False), (int, 0), (float, 0.0))
_DEFAULT_FACTORIES = (list, dict)


def set_zato_defaults(declared: Any) -> bool:
    """Set Zato's defaults for the optional fields of every Zato Model in a type, and return whether the type contains
    one.

    Must run once per class, before values are first converted to it. Raises NameError for an annotation that cannot be
    resolved.
    """
    has_zato_model = False
    pending, seen = [declared], set()
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        pending += typing.get_args(current)
        if isinstance(current, type) and dataclasses.is_dataclass(current):
            hints = typing.get_type_hints(current)
            pending += hints.values()
            if getattr(current, 'zato_model', False):
                has_zato_model = True
                _add_defaults(current, hints)
    return has_zato_model


def _add_defaults(model: type, hints: dict[str, Any]) -> None:
    for field in dataclasses.fields(model):
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if not has_default and _may_be_none(hints[field.name]):
            _make_optional(field, unwrap_type(hints[field.name]))


def _may_be_none(declared: Any) -> bool:
    """Return whether None is one of the types."""
    return typing.get_origin(declared) in UNIONS and type(None) in typing.get_args(declared)


def _make_optional(field: dataclasses.Field[Any], declared: Any) -> None:
    """Set the default of a field by its type."""
    plain = typing.get_origin(declared) or declared
    plain = plain if isinstance(plain, type) else object
    for kind in _DEFAULT_FACTORIES:
        if issubclass(plain, kind):
            field.default_factory = kind
            return
    field.default = next((value for kind, value in _DEFAULTS if issubclass(plain, kind)), None)
