"""Security definitions: the credentials that channels accept, one module per type."""

from __future__ import annotations

from zatotx.schema.meta import ObjectType
from zatotx.schema.security.apikey import APIKEY, ApiKey
from zatotx.schema.security.basic_auth import BASIC_AUTH, BasicAuth
from zatotx.schema.security.digest_auth import DIGEST_AUTH, DigestAuth
from zatotx.schema.security.group import SECURITY_GROUP, SecurityGroup
from zatotx.schema.security.jwt import JWT, Jwt
from zatotx.schema.security.mtls import MTLS, Mtls
from zatotx.schema.security.oauth2_client import OAUTH2_CLIENT, OAuth2Client
from zatotx.schema.security.tech_account import TECH_ACCOUNT, TechAccount
from zatotx.schema.security.wss import WSS, Wss
from zatotx.schema.security.xpath import XPATH, XPath

SECURITY_TYPES: tuple[ObjectType, ...] = (
    BASIC_AUTH, APIKEY, TECH_ACCOUNT, WSS, XPATH, JWT, MTLS, SECURITY_GROUP, DIGEST_AUTH, OAUTH2_CLIENT,
)  # fmt: skip

__all__ = [
    'APIKEY', 'BASIC_AUTH', 'DIGEST_AUTH', 'JWT', 'MTLS', 'OAUTH2_CLIENT', 'SECURITY_GROUP', 'SECURITY_TYPES',
    'TECH_ACCOUNT', 'WSS', 'XPATH', 'ApiKey', 'BasicAuth', 'DigestAuth', 'Jwt', 'Mtls', 'OAuth2Client',
    'SecurityGroup', 'TechAccount', 'Wss', 'XPath',
]  # fmt: skip
