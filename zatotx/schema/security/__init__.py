"""Security definitions: who may use the channels that name them, one type of definition a file."""

from __future__ import annotations

from zatotx.schema.meta import ObjectType
from zatotx.schema.security.basic_auth import BASIC_AUTH, BasicAuth
from zatotx.schema.security.group import SECURITY_GROUP, SecurityGroup

SECURITY_TYPES: tuple[ObjectType, ...] = (BASIC_AUTH, SECURITY_GROUP)

__all__ = ['BASIC_AUTH', 'SECURITY_GROUP', 'SECURITY_TYPES', 'BasicAuth', 'SecurityGroup']
