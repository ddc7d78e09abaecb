"""`Model`: the base of typed messages written for Zato 3.x, `@dataclass(init=False) class X(Model)`."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import msgspec

from zatotx.model.errors import BadInput
from zatotx.service.compat.bunch import bunchify
from zatotx.service.io.typed_models import convert, fill_defaults
from zatotx.service.io.validation_error import ValidationError
from zatotx.service.io.zato_models import complete_model


class Model:
    """A dataclass that knows its forms. New code may use a plain dataclass or msgspec.Struct just as well."""

    zato_model = True  # what zato_models.py looks for
    _zato_complete = False

    def __getitem__(self, name: str) -> Any:
        """A field by its name, None where there is none, as in Zato."""
        return getattr(self, name, None)

    def __contains__(self, name: str) -> bool:
        return hasattr(self, name)

    def get(self, name: str) -> Any:
        """As `model[name]`."""
        return self[name]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The instance for a dict. Raises BadInput with every mistake by its path."""
        try:
            if not cls.__dict__.get('_zato_complete'):
                cls._zato_complete = complete_model(cls)
            made = convert(data, cls, text=True)
        except ValidationError as wrong:
            raise BadInput([(f'${path}', what) for path, what in wrong.mistakes]) from None
        fill_defaults(made)
        model: Self = made
        return model

    @classmethod
    def from_json(cls, data: str | bytes) -> Self:
        """The instance for JSON text, likewise."""
        return cls.from_dict(msgspec.json.decode(data))

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain dicts and lists; dates and the like stay what they are."""
        fill_defaults(self)
        plain: dict[str, Any] = _plain(self)
        return plain

    def to_json(self) -> str:
        """All fields as JSON text."""
        fill_defaults(self)
        return msgspec.json.encode(self).decode('utf-8')

    def to_bunch(self) -> Any:
        """All fields as Bunches."""
        return bunchify(self.to_dict())

    def clone(self) -> Self:
        """A copy that shares nothing with this one."""
        return type(self).from_dict(msgspec.to_builtins(self.to_dict()))


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [one.name for one in dataclasses.fields(value)]
        return {name: _plain(getattr(value, name)) for name in names if hasattr(value, name)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
