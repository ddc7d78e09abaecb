"""Looks up the AMQP definition to which a channel or an outgoing connection refers."""

from __future__ import annotations

from zatotx.connectors.outgoing_connections import Sources
from zatotx.plugins.amqp.schema.definition_amqp import AmqpDefinition
from zatotx.schema.snapshot import Snapshot, StoredObject


def definition_of(stored: StoredObject, snapshot: Snapshot) -> Sources:
    """Return the AMQP definition to which an object refers."""
    return (snapshot.find('definition_amqp', stored.value.definition),)


def usable_definition(definition: StoredObject | None) -> AmqpDefinition:
    """Return the AMQP definition if it is active. Raises ValueError otherwise."""
    if definition is None or not definition.value.is_active:
        raise ValueError('its definition is inactive')
    value: AmqpDefinition = definition.value
    return value
