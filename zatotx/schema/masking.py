"""What of an object people may see: its secrets are `******`, in every repr, history row, diff and answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from zatotx.schema.fields import secrets_of_struct

MASK = '******'


def masked(struct: type[Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with a mask in place of every secret that is set."""
    secrets = secrets_of_struct(struct)
    return {name: MASK if name in secrets and value else value for name, value in document.items()}


class Configured(msgspec.Struct, frozen=True, kw_only=True):
    """The base of all object types' Structs: immutable, and silent about its secrets."""

    def __repr__(self) -> str:
        fields = masked(type(self), msgspec.structs.asdict(self))
        return f'{type(self).__name__}({", ".join(f"{name}={value!r}" for name, value in fields.items())})'
