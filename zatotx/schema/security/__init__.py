"""Security definitions: who may use the channels that name them, one type of definition a file."""

from __future__ import annotations

from zatotx.schema.meta import ObjectType
from zatotx.schema.security.basic_auth import BASIC_AUTH, BasicAuth
from zatotx.schema.security.digest_auth import DIGEST_AUTH, DigestAuth
from zatotx.schema.security.group import SECURITY_GROUP, SecurityGroup
from zatotx.schema.security.jwt import JWT, Jwt
from zatotx.schema.security.oauth2_client import OAUTH2_CLIENT, OAuth2Client

SECURITY_TYPES: tuple[ObjectType, ...] = (BASIC_AUTH, SECURITY_GROUP, DIGEST_AUTH, OAUTH2_CLIENT, JWT)

__all__ = [
    'BASIC_AUTH', 'DIGEST_AUTH', 'JWT', 'OAUTH2_CLIENT', 'SECURITY_GROUP', 'SECURITY_TYPES', 'BasicAuth', 'DigestAuth',
    'Jwt', 'OAuth2Client', 'SecurityGroup',
]  # fmt: skip
