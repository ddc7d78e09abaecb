"""Checks the logins of an FTP channel. The check takes the same time for an unknown user and for a wrong password, and
logins after failures are delayed.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import sha256

from attrs import field, frozen
from twisted.internet.defer import Deferred

from zatotx.rules.security.login_throttle import LoginThrottle, client_network

FAILURE_DELAY = 1.0  # seconds before the reply to a failed login
ATTEMPTS = 3  # failed logins of one connection

# (user, password, address): whether a security definition of the channel has this user and password.
Authenticate = Callable[[str, str, str], Deferred[bool]]


@frozen
class Login:
    """Checks user names and passwords. All FTP channels of a process share one login throttle."""

    user: str  # '' = only those of `authenticate`
    password: str = field(repr=False)
    throttle: LoginThrottle = field(factory=LoginThrottle)
    authenticate: Authenticate | None = None  # None = there are no further users

    def delay(self, address: str, now: float) -> float:
        """Return the seconds that an attempt from an address has to wait before it is looked at."""
        return self.throttle.delay(client_network(address), now)

    def matches(self, user: str, password: str) -> bool:
        """Return whether user and password are those of the channel itself."""
        same_user = hmac.compare_digest(_digest(user), _digest(self.user))
        same_password = hmac.compare_digest(_digest(password), _digest(self.password))
        return same_user & same_password & bool(self.user and self.password)

    def record_failure(self, address: str, now: float) -> None:
        """Count a failed attempt against its address."""
        self.throttle.record_failure(client_network(address), now)


def _digest(text: str) -> bytes:
    return sha256(text.encode('utf-8', 'surrogateescape')).digest()
