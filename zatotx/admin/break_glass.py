"""The break-glass account, which is a local login that opens the screens of the load balancer when no server responds.

Its credentials are in config/break-glass.toml of the web admin, which `zatotx update password` changes; the file is
read at each login. Its logins are in the log at once, and in the history of the cluster after the next login of an
administrator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from math import ceil
from pathlib import Path
from secrets import token_urlsafe
from time import time
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zatotx.admin.break_glass_file import read_credentials
from zatotx.admin.cluster_api import ApiError
from zatotx.rules.security.login_backoff import LoginBackoff
from zatotx.rules.security.login_throttle import client_network
from zatotx.rules.security.password_verification import verify_password

TOKEN_PREFIX = 'local.'  # of session tokens; those of the cluster begin with digits
UNAVAILABLE = frozenset({0, 502, 503, 504})  # statuses of a login at the cluster after which the account may be used
IDLE_TIMEOUT, MAX_AGE = 1800.0, 7200.0  # seconds
MAX_PENDING = 100  # logins that wait to be written to the history
_MAX_SESSIONS = 20
_MAX_VERIFICATIONS = 2  # at the same time: each takes 19 MiB and a core


@frozen
class LocalLogin:
    """A login with the break-glass account, or a login attempt that was refused."""

    username: str
    address: str  # of the browser
    at: float  # Unix time
    is_refused: bool = False


@define
class _Session:
    username: str
    opened_at: float
    used_at: float


def verify(path: Path, username: str, password: str) -> bool | None:
    """Return True if the credentials match the file, and False if the password is wrong. Returns None if the user name
    differs or the file is missing. Raises ValueError for a malformed file. Blocking, because it takes about 20 ms."""
    known = read_credentials(path)
    if known is None or known.username != username:
        return None
    return verify_password(known.password_hash, password)


@define(kw_only=True)
class BreakGlassAccount:
    """Opens local sessions for the user whose credentials are in the file of the break-glass account."""

    path: Path
    clock: IReactorTime  # monotonic
    now: Callable[[], float] = time  # Unix time
    offload: Callable[..., Deferred[Any]]
    _failures: LoginBackoff = field(factory=LoginBackoff, init=False)  # by network
    _sessions: dict[str, _Session] = field(factory=dict, init=False)  # by digest of the token
    _pending: list[LocalLogin] = field(factory=list, init=False)
    _verifications: int = field(default=0, init=False)

    _log = Logger()

    async def log_in(self, username: str, password: str, address: str) -> str | None:
        """Return the token of a new session; None if the user name is not that of the account. Raises ApiError: 401 for
        a wrong password, 429 after repeated ones from the network of `address`."""
        network = client_network(address)
        wait = self._failures.retry_after(network, self.clock.seconds())
        if wait > 0 or self._verifications >= _MAX_VERIFICATIONS:
            raise ApiError(429, ['Too many wrong passwords: try again later'], retry_after=str(max(1, ceil(wait))))
        self._verifications += 1
        try:
            is_valid = await self.offload(verify, self.path, username, password)
        except (OSError, ValueError) as error:
            self._log.error('The break-glass account cannot be used: {error}', error=str(error))
            text = 'The break-glass account cannot be used: the log of the web admin says why.'
            raise ApiError(503, [text]) from None
        finally:
            self._verifications -= 1
        if is_valid is None:
            return None
        self._record(LocalLogin(username, address, self.now(), is_refused=not is_valid))
        if not is_valid:
            self._failures.record_failure(network, self.clock.seconds())
            raise ApiError(401, ['The user name or the password is wrong'])
        self._failures.record_success(network)
        return self._open(username)

    def _open(self, username: str) -> str:
        while len(self._sessions) >= _MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        token, now = TOKEN_PREFIX + token_urlsafe(32), self.clock.seconds()
        self._sessions[_digest(token)] = _Session(username, now, now)
        return token

    def _record(self, login: LocalLogin) -> None:
        self._log.warn('Break-glass account {name}: login from {address} {what}', name=login.username,
                       address=login.address, what='refused' if login.is_refused else 'accepted')  # fmt: skip
        self._pending.append(login)
        del self._pending[:-MAX_PENDING]

    def use(self, token: str, *, renews: bool = True) -> str | None:
        """Return the user name of a session, None if it has ended; with `renews`, its idle time begins anew."""
        session, now = self._sessions.get(_digest(token)), self.clock.seconds()
        if session is None:
            return None
        if now - session.used_at >= IDLE_TIMEOUT or now - session.opened_at >= MAX_AGE:
            self.log_out(token)
            return None
        if renews:
            session.used_at = now
        return session.username

    def log_out(self, token: str) -> None:
        """End a session."""
        self._sessions.pop(_digest(token), None)

    def take_pending(self) -> list[Mapping[str, Any]]:
        """Return the logins that are not in the history yet, as zato.admin.record-local-logins takes them, and forget
        them; `put_back` them if that fails."""
        taken, self._pending = self._pending, []
        return [{'username': one.username, 'address': one.address, 'at': one.at, 'is_refused': one.is_refused}
                for one in taken]  # fmt: skip

    def put_back(self, logins: list[Mapping[str, Any]]) -> None:
        """Keep logins that could not be written to the history."""
        self._pending[:0] = [LocalLogin(**one) for one in logins]
        del self._pending[:-MAX_PENDING]


def is_local(token: str) -> bool:
    """Return whether a session token belongs to a session of the break-glass account."""
    return token.startswith(TOKEN_PREFIX)


def may_open(path: str) -> bool:
    """Return whether a local session may open the page at a path. Only the pages of the load balancer are allowed."""
    return path == '/load-balancer' or path.startswith('/load-balancer/')


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()
