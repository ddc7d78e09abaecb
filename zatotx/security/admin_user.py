"""Users of the web admin. They log in at /zato/admin/login and receive a session token, which must be sent to
/zato/admin/invoke.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated

from zatotx.interfaces.admin_sessions import ADMIN_USER, PASSIVE_HEADER, SESSION_HEADER, session_key, user_id_of
from zatotx.interfaces.security_type import SecurityType
from zatotx.model.errors import Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.admin_sessions import CHALLENGE
from zatotx.pipeline.security.authenticator import AuthenticationDependencies, make_principal
from zatotx.rules.display_preferences import CHOICES, DEFAULTS
from zatotx.rules.security.roles import ADMIN_USER_ROLES
from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import Role, SecurityDefinition, control_character_error, roles_error
from zatotx.schema.snapshot import StoredObject


class AdminUser(SecurityDefinition, frozen=True, kw_only=True):
    """The security definition of a web admin user."""

    username: Annotated[
        str,
        field('User name of the login', min_length=1, max_length=200, check=control_character_error),
    ]
    roles: Annotated[
        list[Role],
        field('admin may do everything, operator may read all, invoke, ping and replay, viewer may read',
              min_length=1, choices=ADMIN_USER_ROLES, check=roles_error),
    ]
    password: Annotated[
        str,
        field('Password of the login; without one all logins are rejected', secret='hashed'),
    ] = ''
    time_zone: Annotated[
        str,
        field('Time zone of the dates that the user sees, such as Europe/Warsaw', pattern=r'^[A-Za-z0-9_+/-]{1,64}$'),
    ] = DEFAULTS['time_zone']
    date_format: Annotated[
        str, field('Form of the dates that the user sees', choices=CHOICES['date_format'])
    ] = DEFAULTS['date_format']
    time_format: Annotated[
        str, field('Form of the times that the user sees', choices=CHOICES['time_format'])
    ] = DEFAULTS['time_format']
    theme: Annotated[
        str, field('Colors of the pages; auto: as the system of the browser', choices=CHOICES['theme'])
    ] = DEFAULTS['theme']
    color: Annotated[
        str, field('Color by which the user tells this cluster from others', choices=CHOICES['color'])
    ] = DEFAULTS['color']


ADMIN_USER_TYPE = ObjectType(
    key=ADMIN_USER,
    struct=AdminUser,
    section='security',
    tag=ADMIN_USER,
    title='Web admin user',
    heading='Web admin users',
    unique_text=lambda user: user.username,
    unique_label='user name',
    builtin_names=frozenset({'admin'}),
    zato=ZatoApi(
        prefix='admin.user', actions=('create', 'edit', 'delete', 'get-list', 'change-password')
    ),
)


class SessionAuthenticator:
    """Authenticates one user of the web admin by a session token."""

    needs_body = False
    scheme = 'admin_session'
    challenge = CHALLENGE
    __slots__ = ('_principal', '_sessions', '_stored', 'lookup_key')

    def __init__(self, dependencies: AuthenticationDependencies, stored: StoredObject) -> None:
        self._sessions = dependencies.sessions
        self._stored = stored
        self._principal = make_principal(stored)
        self.lookup_key = str(stored.id)

    def extract_key(self, message: Message) -> str | None:
        """Return the id of the user that the token says it belongs to."""
        token = message.headers.get(SESSION_HEADER)
        return None if token is None else user_id_of(token.decode('latin-1'))

    def check(self, message: Message) -> Awaitable[Principal]:
        """Return an awaitable of the principal, which asks the session store. Raises Unauthorized."""
        token = message.headers.get(SESSION_HEADER, b'').decode('latin-1')
        if user_id_of(token) != self.lookup_key:
            raise Unauthorized(message.cid, None, self.challenge)
        return self._check(message, token)

    async def _check(self, message: Message, token: str) -> Principal:
        is_active = PASSIVE_HEADER not in message.headers
        if not await self._sessions.use(session_key(self._stored, token), renews=is_active):
            raise Unauthorized(message.cid, None, self.challenge)
        return self._principal


def make_authenticator(stored: StoredObject, dependencies: AuthenticationDependencies) -> SessionAuthenticator:
    """Create the authenticator of a web admin user."""
    return SessionAuthenticator(dependencies, stored)


security_type = SecurityType(
    object_type=ADMIN_USER_TYPE,
    authenticator='zatotx.security.admin_user:make_authenticator',
    challenge=lambda _: CHALLENGE,
    is_for_channels=False,
)
