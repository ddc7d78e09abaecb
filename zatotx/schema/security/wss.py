"""WS-Security definitions."""

from __future__ import annotations

from typing import Annotated

from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import Definition

CLEAR_TEXT, DIGEST = 'clear_text', 'digest'
_DAY = 24 * 60 * 60


class Wss(Definition, frozen=True, kw_only=True):
    """A UsernameToken in the envelope: who may use the SOAP channels that name this definition, and who we are to
    systems that outgoing SOAP connections call."""

    username: Annotated[str, field('Username of the token', min_length=1, max_length=1000)]
    password: Annotated[
        str, field('Password of the token; until there is one nobody is admitted', secret='encrypted')
    ] = ''
    password_type: Annotated[
        str,
        field('How the password is sent: as it is, or as a digest over nonce, creation and password',
              choices=(CLEAR_TEXT, DIGEST),
              aliases={'clear': CLEAR_TEXT, 'text': CLEAR_TEXT, 'PasswordText': CLEAR_TEXT, 'PasswordDigest': DIGEST}),
    ] = CLEAR_TEXT
    reject_empty_nonce_creat: Annotated[
        bool, field('Whether tokens without Nonce or Created are refused: only what has both cannot be sent again')
    ] = True
    reject_stale_tokens: Annotated[
        bool, field('Whether tokens are refused that were created longer ago than reject_expiry_limit')
    ] = True
    reject_expiry_limit: Annotated[int, field('Seconds for which a token is good', ge=1, le=_DAY)] = 3600
    nonce_freshness_time: Annotated[
        int, field('Seconds for which nonces are remembered, at least while their tokens are good', ge=1, le=_DAY)
    ] = 3600


WSS = ObjectType(
    key='wss',
    struct=Wss,
    section='security',
    tag='wss',
    title='WS-Security definition',
    zato=ZatoApi(prefix='security.wss', actions=('create', 'edit', 'delete', 'get-list', 'change-password')),
)
