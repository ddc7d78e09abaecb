"""Security definitions: who may use the channels that name them, one type of definition a file."""

from __future__ import annotations

from zatotx.schema.meta import ObjectType
from zatotx.schema.security.basic_auth import BASIC_AUTH, BasicAuth

SECURITY_TYPES: tuple[ObjectType, ...] = (BASIC_AUTH,)

__all__ = ['BASIC_AUTH', 'SECURITY_TYPES', 'BasicAuth']
