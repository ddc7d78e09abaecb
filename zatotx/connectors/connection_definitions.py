"""Connection definitions, which contain the address and the account of a peer. The channels and outgoing connections of
one kind share them.

Their objects name it in the field `definition`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zatotx.connectors.outgoing_connections import Sources
from zatotx.schema.snapshot import Snapshot, StoredObject


def refers_to_definition(object_type: str) -> Callable[[StoredObject, Snapshot], Sources]:
    """Return the function `references` of a ChannelType or ConnectionType whose objects refer to a definition of the
    given type."""

    def find_definition(stored: StoredObject, snapshot: Snapshot) -> Sources:
        return (snapshot.find(object_type, stored.value.definition),)

    return find_definition


def require_active(definition: StoredObject | None) -> Any:
    """Return the configuration of a definition. Raises ValueError if it is inactive."""
    if definition is None or not definition.value.is_active:
        raise ValueError('its definition is inactive')
    return definition.value
