"""A configuration object: price lists."""

from __future__ import annotations

from zatotx.interfaces.connector_kind import SERVER, ConnectorKind

kind = ConnectorKind(
    name='price_list', title='Price lists', runs_in=SERVER, schema='zatotx.plugins.price_list.schema:OBJECT_TYPES'
)
