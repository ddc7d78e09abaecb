"""Defines `Model`, the base class of typed messages that were written for Zato 3.x: `@dataclass(init=False) class
X(Model)`."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import msgspec

from zatotx.model.errors import BadInput
from zatotx.service.compat.bunch import bunchify
from zatotx.service.io.typed_models import convert_to_type, fill_defaults
from zatotx.service.io.validation_error import ValidationError
from zatotx.service.io.zato_model_defaults import set_zato_defaults


class Model:
    """A dataclass with conversions to and from dicts and JSON. New code may use a plain dataclass or msgspec.Struct."""

    zato_model = True  # recognized by zato_models.py
    _zato_complete = False

    def __getitem__(self, name: str) -> Any:
        """Return a field by its name; None if it does not exist, as in Zato."""
        return getattr(self, name, None)

    def __contains__(self, name: str) -> bool:
        return hasattr(self, name)

    def get(self, name: str) -> Any:
        """Return a field by its name, as `model[name]`."""
        return self[name]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Create an instance from a dict. Raises BadInput listing every mistake with its path."""
        try:
            if not cls.__dict__.get('_zato_complete'):
                cls._zato_complete = set_zato_defaults(cls)
            instance = convert_to_type(data, cls, from_text=True)
        except ValidationError as error:
            raise BadInput([(f'${path}', message) for path, message in error.errors]) from None
        fill_defaults(instance)
        model: Self = instance
        return model

    @classmethod
    def from_json(cls, data: str | bytes) -> Self:
        """Create an instance from JSON text. Raises BadInput listing every mistake with its path."""
        return cls.from_dict(msgspec.json.decode(data))

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain dicts and lists; dates and similar values are kept as they are."""
        fill_defaults(self)
        plain: dict[str, Any] = _plain(self)
        return plain

    def to_json(self) -> str:
        """Return all fields as JSON text."""
        fill_defaults(self)
        return msgspec.json.encode(self).decode('utf-8')

    def to_bunch(self) -> Any:
        """Return all fields as Bunches."""
        return bunchify(self.to_dict())

    def clone(self) -> Self:
        """Return a deep copy."""
        return type(self).from_dict(msgspec.to_builtins(self.to_dict()))


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: _plain(getattr(value, name)) for name in names if hasattr(value, name)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
