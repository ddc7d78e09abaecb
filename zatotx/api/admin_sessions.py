"""The services zato.admin.login, logout, get-session and change-own-password, which manage login sessions of the web
admin's users.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from zatotx.api.admin_service import AdminService, bad_field_error
from zatotx.api.zato_object_conversion import UNRESOLVED, parse_changes
from zatotx.interfaces.admin_sessions import ADMIN_USER, IDLE_TIMEOUT, SESSION_HEADER
from zatotx.model.errors import BadInput, Conflict, ServiceError, Unauthorized
from zatotx.rules.display_preferences import DEFAULTS
from zatotx.rules.enmasse.reference_resolution import is_obvious_reference
from zatotx.schema.references import SnapshotReferences
from zatotx.schema.snapshot import Actor, Operation, StoredObject
from zatotx.service.io.elements import AsIs, Secret, Text
from zatotx.wire.http.host_names import is_loopback

LOGGED_IN, REFUSED, LOGGED_OUT = 'login', 'login-refused', 'logout'  # actions in the history
LOCAL_LOGIN, LOCAL_REFUSED = 'local-login', 'local-login-refused'  # those of break-glass accounts


class SessionService(AdminService):
    """Base class of the services for login sessions."""

    zato_dont_import = True

    async def record(self, action: str, username: str, address: str) -> None:
        """Write a login to the history. If the ODB is unavailable, the server's log has it: a login does not depend on
        the ODB, because an administrator may need it to see what is wrong."""
        actor = Actor(username, self.channel.name, self.cid, address)
        try:
            await self.server.odb.record_event(action, ADMIN_USER, username, actor)
        except ServiceError as error:
            self.logger.warning('%s of %r from %s is not in the history: %s', action, username, address, error)

    def find_own_user(self, refusal: str) -> StoredObject:
        """Return the user of the web admin who calls. Raises Conflict with the message `refusal` if the caller is not
        one, and Unauthorized if the user was deleted in the meantime."""
        if self.principal.kind != ADMIN_USER:
            raise Conflict(self.cid, refusal)
        user = self.server.config.snapshot.find(ADMIN_USER, self.principal.name)
        if user is None:
            raise Unauthorized(self.cid, 'The user was deleted')
        return user


class LogIn(SessionService):
    """Log a web admin user in. The response contains a `token`. Further requests to /zato/admin/invoke/{service} must
    send the token in the header field X-Zato-Session.

    A caller on this machine, such as the web admin, says in `client_address` where its own client is.
    """

    name = 'zato.admin.login'

    class SimpleIO:
        input_required = (Text('username'), Secret('password'))
        input_optional = (Text('client_address'),)

    async def handle(self) -> None:
        request_input, peer = self.request.input, self.request.http.peer
        stated = str(request_input.client_address or '')
        address = stated[:100] if stated and is_loopback(peer) else peer
        username = str(request_input.username)
        try:
            session = await self.server.admin_sessions.log_in(username, str(request_input.password), address)
        except Unauthorized:
            await self.record(REFUSED, username[:200], address)
            raise
        await self.record(LOGGED_IN, username, address)
        user = session.user
        self.response.payload = {'token': session.token, 'idle_timeout': int(IDLE_TIMEOUT), **_describe(
            user.name, user.value.username, user.value.roles), 'settings': display_preferences_of(user)}  # fmt: skip


class RecordLocalLogins(SessionService):
    """Write logins of the break-glass account of a web admin to the history. Each login has the fields `username`,
    `address`, `at` (Unix time) and `is_refused`. The logins were made while no server responded."""

    name = 'zato.admin.record-local-logins'

    class SimpleIO:
        input_required = (AsIs('logins'),)

    async def handle(self) -> None:
        try:
            logins = msgspec.convert(self.request.input.logins, list[LocalLoginRow])
        except msgspec.ValidationError as error:
            raise bad_field_error('logins', str(error)) from None
        for one in logins:
            action = LOCAL_REFUSED if one.is_refused else LOCAL_LOGIN
            actor = Actor(one.username, 'web-admin', self.cid, one.address, one.at)
            await self.server.odb.record_event(action, ADMIN_USER, one.username, actor)
        self.response.payload = {'recorded': len(logins)}


class LocalLoginRow(msgspec.Struct, frozen=True):
    """One login in a request of zato.admin.record-local-logins."""

    username: Annotated[str, Meta(max_length=200)]
    address: Annotated[str, Meta(max_length=100)]
    at: float
    is_refused: bool = False


class LogOut(SessionService):
    """Log out, which ends the session that sent the request."""

    name = 'zato.admin.logout'

    async def handle(self) -> None:
        token = self.request.http.headers.get(SESSION_HEADER.decode(), '')
        await self.server.admin_sessions.log_out(self.principal.name, token)
        await self.record(LOGGED_OUT, self.principal.username, self.request.http.peer)
        self.response.payload = {}


class GetSession(AdminService):
    """Return the user of the session that sent the request."""

    name = 'zato.admin.get-session'

    async def handle(self) -> None:
        principal = self.principal
        user = self.server.config.snapshot.find(ADMIN_USER, principal.name) if principal.kind == ADMIN_USER else None
        described = _describe(principal.name, principal.username, principal.roles)
        self.response.payload = described if user is None else {**described, 'settings': display_preferences_of(user)}


def _describe(name: str, username: str, roles: Any) -> dict[str, Any]:
    return {'name': name, 'username': username, 'roles': sorted(roles)}


def display_preferences_of(user: StoredObject) -> dict[str, str]:
    """Return the display preferences of a user."""
    return {name: str(getattr(user.value, name)) for name in DEFAULTS}


class ChangeOwnSettings(SessionService):
    """Change the display preferences of the caller: `time_zone`, `date_format`, `time_format`, `theme` and `color`.
    Fields that are absent are not changed."""

    name = 'zato.admin.change-own-settings'

    class SimpleIO:
        input_optional = tuple(map(Text, DEFAULTS))
        default_value = None

    async def handle(self) -> None:
        user = self.find_own_user('Only users of the web admin have settings')
        snapshot, types = self.server.config.snapshot, self.server.types
        given = {name: self.request.input[name] for name in DEFAULTS if self.request.input[name] is not None}
        references = SnapshotReferences(snapshot, types)
        changes, errors = parse_changes(types[ADMIN_USER], user.value, given, references, datetime.now(UTC))
        if errors:
            raise BadInput(errors)
        if changes:
            step = Operation(action='edit', type=ADMIN_USER, name=user.name, id=user.id, fields=changes)
            await self.server.config.change([step], self.actor)
        self.response.payload = display_preferences_of(self.server.config.snapshot.find(ADMIN_USER, user.name) or user)


class ChangeOwnPassword(SessionService):
    """Change the password of the caller. The request contains the current password, and the new password twice. All
    sessions of the user end."""

    name = 'zato.admin.change-own-password'

    class SimpleIO:
        input_required = (Secret('password'), Secret('password1'), Secret('password2'))

    async def handle(self) -> None:
        request_input, address = self.request.input, self.request.http.peer
        first, second = str(request_input.password1), str(request_input.password2)
        user = self.find_own_user('Only users of the web admin change their passwords here')
        if first != second:
            raise bad_field_error('password2', 'is not the same as password1')
        if is_obvious_reference(first):
            raise bad_field_error('password1', UNRESOLVED)
        try:
            await self.server.admin_sessions.check_password(self.principal.username, request_input.password, address)
        except Unauthorized:
            raise bad_field_error('password', 'is not your present password') from None
        step = Operation(action='edit', type=ADMIN_USER, name=user.name, id=user.id, fields={'password': first})
        await self.server.config.change([step], self.actor)
        self.response.payload = {}


SERVICES = (LogIn, RecordLocalLogins, LogOut, GetSession, ChangeOwnSettings, ChangeOwnPassword)
