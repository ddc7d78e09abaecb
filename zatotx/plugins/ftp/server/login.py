"""Logins of an FTP channel: the comparison takes the same time whatever is wrong, and failures are delayed."""

from __future__ import annotations

import hmac
from hashlib import sha256

from attrs import field, frozen

from zatotx.rules.security.login_throttle import LoginThrottle, client_network

FAILURE_DELAY = 1.0  # seconds before the reply to a failed login
ATTEMPTS = 3  # failed logins of one connection


@frozen
class Login:
    """Checks user names and passwords. The throttle is shared by all channels of a process."""

    user: str
    password: str = field(repr=False)
    throttle: LoginThrottle = field(factory=LoginThrottle)

    def delay(self, address: str, now: float) -> float:
        """Return the seconds that an attempt from an address has to wait before it is looked at."""
        return self.throttle.delay(client_network(address), now)

    def check(self, user: str, password: str, address: str, now: float) -> bool:
        """Return whether user and password are right. A failure counts against the address."""
        same_user = hmac.compare_digest(_digest(user), _digest(self.user))
        same_password = hmac.compare_digest(_digest(password), _digest(self.password))
        is_right = same_user & same_password & bool(self.password)
        if not is_right:
            self.throttle.record_failure(client_network(address), now)
        return is_right


def _digest(text: str) -> bytes:
    return sha256(text.encode('utf-8', 'surrogateescape')).digest()
