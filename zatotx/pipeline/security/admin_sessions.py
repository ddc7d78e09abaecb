"""Logs in users of the web admin. Passwords are verified with a backoff after failures, and successful logins create
sessions."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from secrets import token_urlsafe

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from zatotx.interfaces.admin_sessions import ADMIN_USER, AdminSession, IAdminSessions, ISessionStore, session_key
from zatotx.model.errors import TooManyRequests, Unauthorized
from zatotx.pipeline.security.password_verifier import PasswordVerifier
from zatotx.rules.security.login_backoff import LoginBackoff
from zatotx.rules.security.login_throttle import client_network
from zatotx.schema.snapshot import Snapshot, StoredObject

WRONG = 'The user name or the password is wrong'
CHALLENGE = 'zato-session'  # of our own: HTTP defines no scheme for sessions


@define
class _PasswordCheck:
    """A HashJob of PasswordVerifier."""

    network: str
    password: str = field(repr=False)
    hashing: bool = False


@implementer(IAdminSessions)
@frozen(kw_only=True)
class AdminSessions:
    """Implements IAdminSessions for the users of the active configuration."""

    snapshot: Callable[[], Snapshot]  # returns the active one
    verifier: PasswordVerifier
    sessions: ISessionStore
    clock: IReactorTime
    by_user: LoginBackoff = field(factory=LoginBackoff)  # per network and user name
    by_network: LoginBackoff = field(factory=lambda: LoginBackoff(30))  # guesses at many user names

    def log_in(self, username: str, password: str, address: str) -> Deferred[AdminSession]:
        return Deferred.fromCoroutine(self._log_in(username, password, address))

    def check_password(self, username: str, password: str, address: str) -> Deferred[StoredObject]:
        return Deferred.fromCoroutine(self._check_password(username, password, client_network(address)))

    def log_out(self, user: str, token: str) -> Deferred[None]:
        stored = self.snapshot().find(ADMIN_USER, user)
        return self.sessions.close('' if stored is None else session_key(stored, token))

    async def _log_in(self, username: str, password: str, address: str) -> AdminSession:
        stored = await self.check_password(username, password, address)
        token = f'{stored.id}.{token_urlsafe(32)}'
        await self.sessions.open(session_key(stored, token))
        return AdminSession(token, stored)

    async def _check_password(self, username: str, password: str, network: str) -> StoredObject:
        key, now = f'{network} {username}', self.clock.seconds()
        wait = max(self.by_user.retry_after(key, now), self.by_network.retry_after(network, now))
        if wait > 0:
            raise TooManyRequests(None, 'Too many wrong passwords: try again later', ceil(wait))
        stored = self._find_user(username)
        # The hash is verified for an unknown user, too: that must take as long as a wrong password.
        self.by_user.record_failure(key, now)  # revoked below: ending the connection does not undo a guess
        self.by_network.record_failure(network, now)
        hashed = '' if stored is None else stored.value.password
        is_valid = await self.verifier.verify(hashed, _PasswordCheck(network, password))
        if not is_valid or stored is None or not hashed:
            raise Unauthorized(None, WRONG, CHALLENGE)
        self.by_user.record_success(key)
        self.by_network.record_success(network)
        return stored

    def _find_user(self, username: str) -> StoredObject | None:
        """Return the active user with that user name."""
        for stored in self.snapshot().objects_of_types(ADMIN_USER):
            if stored.value.username == username and stored.value.is_active:
                return stored
        return None
