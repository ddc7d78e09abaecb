"""Badges: a secret in the header field X-Badge. Shows all that a security type consists of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from zatotx.interfaces.security_type import CredentialsContext, OutgoingCredentials, SecurityType
from zatotx.model.errors import Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.authenticator import AuthenticationDependencies, make_principal
from zatotx.pipeline.security.secret_comparison import equal_secrets
from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import SecurityDefinition, control_character_error
from zatotx.schema.snapshot import StoredObject

FIELD = 'X-Badge'


class Badge(SecurityDefinition, frozen=True, kw_only=True):
    """A secret in the header field X-Badge."""

    password: Annotated[str, field('The secret', secret='encrypted', check=control_character_error)] = ''


class BadgeAuthenticator:
    """Authenticates by one badge."""

    needs_body = False
    scheme = 'badge'

    def __init__(self, stored: StoredObject, dependencies: AuthenticationDependencies) -> None:
        self._digest = dependencies.comparison.digest
        self._principal = make_principal(stored)
        self.challenge = challenge(stored.value)
        self.lookup_key = self._digest(stored.value.password.encode()) if stored.value.password else b''

    def extract_key(self, message: Message) -> bytes | None:
        """Return the digest of the secret."""
        secret = message.headers.get(FIELD.lower().encode())
        return None if secret is None else self._digest(secret)

    def check(self, message: Message) -> Principal:
        """Return the principal. Raises Unauthorized."""
        if not equal_secrets(self.extract_key(message) or b' ', self.lookup_key):
            raise Unauthorized(message.cid, None, self.challenge)
        return self._principal


def make_credentials(stored: StoredObject, context: CredentialsContext) -> OutgoingCredentials:
    """Return the credentials of outgoing connections."""
    return OutgoingCredentials(fields=((FIELD.encode(), stored.value.password.encode()),))


def challenge(definition: Badge) -> str:
    """Return the challenge, which names the definition."""
    return f'Badge realm="{definition.name}"'


def openapi_scheme(definition: Badge) -> Mapping[str, Any]:
    """Return the OpenAPI security scheme."""
    return {'type': 'apiKey', 'in': 'header', 'name': FIELD, 'description': f'{definition.name}: a badge'}


security_type = SecurityType(
    object_type=ObjectType(key='badge', struct=Badge, section='security', tag='badge', title='Badge',
                           zato=ZatoApi(prefix='security.badge')),
    authenticator='zatotx.security.badge:BadgeAuthenticator',
    challenge=challenge,
    openapi_scheme=openapi_scheme,
    credentials='zatotx.security.badge:make_credentials',
)  # fmt: skip
