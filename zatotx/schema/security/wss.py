"""WS-Security definitions."""

from __future__ import annotations

from typing import Annotated

from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import SecurityDefinition

CLEAR_TEXT, DIGEST = 'clear_text', 'digest'
_DAY = 24 * 60 * 60


class Wss(SecurityDefinition, frozen=True, kw_only=True):
    """A WS-Security UsernameToken: verified by SOAP channels, sent by outgoing SOAP connections."""

    username: Annotated[str, field('Username of the token', min_length=1, max_length=1000)]
    password: Annotated[
        str, field('Password of the token; without one all requests are rejected', secret='encrypted')
    ] = ''
    password_type: Annotated[
        str,
        field('How the password is sent: as clear text, or as a digest of nonce, creation time and password',
              choices=(CLEAR_TEXT, DIGEST),
              aliases={'clear': CLEAR_TEXT, 'text': CLEAR_TEXT, 'PasswordText': CLEAR_TEXT, 'PasswordDigest': DIGEST}),
    ] = CLEAR_TEXT
    reject_empty_nonce_creat: Annotated[
        bool, field('Whether tokens without Nonce or Created are rejected; only tokens with both are protected '
                    'against replay')
    ] = True
    reject_stale_tokens: Annotated[
        bool, field('Whether tokens older than reject_expiry_limit are rejected')
    ] = True
    reject_expiry_limit: Annotated[int, field('Seconds for which a token is valid', ge=1, le=_DAY)] = 3600
    nonce_freshness_time: Annotated[
        int, field('Seconds for which nonces are remembered; at least as long as their tokens are valid', ge=1, le=_DAY)
    ] = 3600


WSS = ObjectType(
    key='wss',
    struct=Wss,
    section='security',
    tag='wss',
    title='WS-Security definition',
    zato=ZatoApi(prefix='security.wss', actions=('create', 'edit', 'delete', 'get-list', 'change-password')),
)
