"""Interfaces for login sessions of the web admin's users."""

from __future__ import annotations

from hashlib import sha256

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import Interface

from zatotx.schema.snapshot import StoredObject

IDLE_TIMEOUT = 1800.0  # seconds without a call after which a session ends
MAX_AGE = 43_200.0  # seconds after which a session ends in any case
SESSION_HEADER = b'x-zato-session'  # the header field that carries the token
PASSIVE_HEADER = b'x-zato-session-passive'  # marks a request that does not start the idle time of the session again
ADMIN_USER = 'admin_user'  # the object type of the users


class AdminSession(msgspec.Struct, frozen=True):
    """A new login session. Only its owner knows the `token`; no part of the cluster stores it."""

    token: str
    user: StoredObject

    def __repr__(self) -> str:
        return f'AdminSession(user={self.user.name!r})'


class ISessionStore(Interface):
    """Stores the login sessions of a cluster by key. The methods fail with Timeout or ServiceUnavailable if the store
    is unavailable."""

    def open(key: str) -> Deferred[None]:
        """Store a new session."""

    def use(key: str, *, renews: bool = True) -> Deferred[bool]:
        """Fires with whether the session exists; with `renews`, its idle time starts again."""

    def close(key: str) -> Deferred[None]:
        """End a session."""


class IAdminSessions(Interface):
    """The interface that logs users of the web admin in and out."""

    def log_in(username: str, password: str, address: str) -> Deferred[AdminSession]:
        """Open a session. Fails with Unauthorized for a wrong user name or password, with TooManyRequests after
        repeated failures from the network of `address` at this user name."""

    def check_password(username: str, password: str, address: str) -> Deferred[StoredObject]:
        """Fires with the user, whose password it is. Fails like log_in."""

    def log_out(user: str, token: str) -> Deferred[None]:
        """End the session of a token of the user called `user`."""


def session_key(stored: StoredObject, token: str) -> str:
    """Return the key under which a session is stored. The key contains a digest of the password's hash, so that a
    change of the password ends all sessions of the user."""
    password = sha256(stored.value.password.encode()).hexdigest()[:16]
    return f'{stored.id}:{password}:{sha256(token.encode()).hexdigest()}'


def user_id_of(token: str) -> str:
    """Return the user ID in a session token, in decimal digits, or '' if the token is malformed."""
    number, dot, secret = token.partition('.')
    return number if dot and secret and number.isascii() and number.isdigit() else ''
