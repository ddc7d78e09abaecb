"""The section [lines] of server.toml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from zatotx.model.errors import StartError

TEMPLATE = """\
[lines]
# max_clients = 1000     clients of one channel at once
"""


class LinesSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the kind."""

    max_clients: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000  # clients of one channel at once
    grace: Annotated[float, Meta(ge=0)] = 10.0  # seconds that messages under way get to finish


def read_settings(section: Mapping[str, Any]) -> LinesSettings:
    """The settings. Raises StartError."""
    try:
        return msgspec.convert(dict(section), LinesSettings)
    except msgspec.ValidationError as error:
        raise StartError(f'[lines] {error}') from None
