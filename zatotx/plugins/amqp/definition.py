"""The definition that a channel or an outgoing connection refers to."""

from __future__ import annotations

from zatotx.connectors.outgoing_connections import Sources
from zatotx.plugins.amqp.schema.definition_amqp import AmqpDefinition
from zatotx.schema.snapshot import Snapshot, StoredObject


def definition_of(stored: StoredObject, snapshot: Snapshot) -> Sources:
    """Return the definition of an object."""
    return (snapshot.find('definition_amqp', stored.value.definition),)


def usable_definition(definition: StoredObject | None) -> AmqpDefinition:
    """Return the definition. Raises ValueError where it is inactive."""
    if definition is None or not definition.value.is_active:
        raise ValueError('its definition is inactive')
    value: AmqpDefinition = definition.value
    return value
