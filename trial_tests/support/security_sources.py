"""Security definitions as the OpenAPI document describes them."""

from __future__ import annotations

from typing import Any

from zatotx.api.openapi_document import security_definition_model
from zatotx.connectors.security_type_registry import find_security_types
from zatotx.rules.openapi.document_input import ChannelSecurityDefinition
from zatotx.schema.snapshot import StoredObject


def source_of(type_: str, name: str, **fields: Any) -> ChannelSecurityDefinition:
    """The source of a definition of that type with these fields."""
    struct = find_security_types()[type_].object_type.struct
    return security_definition_model(StoredObject(1, type_, struct(name=name, **fields), 1))
