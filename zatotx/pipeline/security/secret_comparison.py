"""Compares secrets with throttling. After too many failures, the credentials of a network are compared only after a
delay.

Two counts are kept:

- failures of a network (an IPv4 address or an IPv6 /64) at all definitions: `SecretComparison.throttle`;
- its failures at one secret: `SecretComparison.secret_throttle`. Within this second limit, an address that was
admitted with the secret before is not delayed, so that clients that share an address with a guesser are still served.
Beyond it they wait, too: an immediate response for the right secret only would allow thousands of guesses a second.

An attempt that must wait is counted on arrival and forgiven if it turns out to be right, so that disconnecting does not
help a guesser. The delay, and whether an attempt may wait at all, never depend on the secret.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from hmac import compare_digest
from math import ceil
from os import urandom
from typing import Any
from weakref import WeakValueDictionary

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from zatotx.model.errors import ServiceUnavailable, TooManyRequests, Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.rules.security.login_throttle import LoginThrottle, client_network

MAX_WAITING = 1_000  # attempts that may wait: each counts against the limit of the node
MAX_ATTEMPTS_PER_NETWORK = 32  # the same, per network: about four guesses a second at most
MAX_ADDRESSES = 10_000  # addresses remembered per secret


@define
class SecretComparison:
    """Compares secrets, and counts failures for all security definitions of a node. The comparison uses digests with a
    key that is generated for each process, so that its timing reveals nothing about a secret."""

    clock: IReactorTime
    throttle: LoginThrottle = field(factory=LoginThrottle)
    secret_throttle: LoginThrottle = field(factory=LoginThrottle)
    _keyed_hash: Any = field(factory=lambda: blake2b(key=urandom(32), digest_size=16), repr=False)
    _waiting: Counter[str] = field(factory=Counter)  # waiting attempts per network
    _total_waiting: int = 0
    _attempts: WeakValueDictionary[str, SecretAttempts] = field(factory=WeakValueDictionary, repr=False)

    def digest(self, *parts: bytes) -> bytes:
        """Return the keyed digest of the parts, none of which contains a zero byte."""
        keyed = self._keyed_hash.copy()
        keyed.update(b'\0'.join(parts))
        digest: bytes = keyed.digest()
        return digest

    def attempts_for(self, secret: str) -> SecretAttempts:
        """Return the attempts at one secret. `secret` names what a guesser can target: one user name, or all API keys
        of one header field, because a key does not tell whose it is."""
        attempts = self._attempts.get(secret)
        if attempts is None:
            attempts = self._attempts[secret] = SecretAttempts(self, secret)
        return attempts

    def enter_waiting(self, network: str, delay: float) -> None:
        """Count a waiting attempt. Raises TooManyRequests if too many attempts of the network wait, ServiceUnavailable
        if too many wait altogether."""
        if self._waiting[network] >= MAX_ATTEMPTS_PER_NETWORK:
            raise TooManyRequests(None, 'Too many wrong credentials came from your address: try again later',
                                  ceil(delay))  # fmt: skip
        if self._total_waiting >= MAX_WAITING:
            raise ServiceUnavailable(None, 'Too many logins wait after wrong credentials: try again later', ceil(delay))
        self._waiting[network] += 1
        self._total_waiting += 1

    def pause(self, delay: float) -> Deferred[None]:
        """Fires after `delay` seconds."""
        return deferLater(self.clock, delay)

    def leave_waiting(self, network: str) -> None:
        """Uncount a waiting attempt."""
        self._total_waiting -= 1
        self._waiting[network] -= 1
        if not self._waiting[network]:
            del self._waiting[network]


class SecretAttempts:
    """The attempts at one secret. `throttled_networks` is empty while no network exceeds its limit; in this case
    `delay` is 0 for all networks. `admitted_addresses` are the addresses that have sent the correct secret."""

    __slots__ = ('__weakref__', '_comparison', '_secret', 'admitted_addresses', 'throttled_networks')

    def __init__(self, comparison: SecretComparison, secret: str) -> None:
        self._comparison = comparison
        self._secret = secret
        self.throttled_networks = comparison.throttle.delayed_until
        self.admitted_addresses: dict[str, None] = {}

    def delay(self, message: Message) -> float:
        """Return the seconds that this attempt must wait before it is compared; 0 after it has waited."""
        if not self.throttled_networks or message.was_throttled:
            return 0.0
        comparison, network, now = self._comparison, caller_network(message), self._comparison.clock.seconds()
        delay = comparison.throttle.delay(network, now)
        if (
            delay > 0
            and caller_address(message) in self.admitted_addresses
            and not comparison.secret_throttle.delay(self._throttle_key(network), now)
        ):
            return 0.0
        return delay

    async def wait(
        self, message: Message, delay: float, then: Callable[[], Principal | Awaitable[Principal]]
    ) -> Principal:
        """Return the principal from `then` after the delay. Raises what `then` raises; TooManyRequests or
        ServiceUnavailable at once if too many attempts wait."""
        network = caller_network(message)
        self._comparison.enter_waiting(network, delay)
        self.count_failure(network)
        message.was_throttled = True
        try:
            await self._comparison.pause(delay)
        finally:
            self._comparison.leave_waiting(network)
        result = then()
        principal = result if isinstance(result, Principal) else await result
        self.uncount_failure(network)
        return principal

    def record_success(self, message: Message, authenticator: object = None) -> None:
        """Record a successful attempt: remember its address and, if the head alone identifies the caller, the
        authenticator (`authenticator`) that admitted it."""
        if authenticator is not None and message.http is not None:
            message.http.authenticated_by = authenticator
        address = caller_address(message)
        if address not in self.admitted_addresses:
            if len(self.admitted_addresses) >= MAX_ADDRESSES:
                del self.admitted_addresses[next(iter(self.admitted_addresses))]
            self.admitted_addresses[address] = None

    def record_failure(self, message: Message, error: Unauthorized) -> Unauthorized:
        """Record a failed attempt, unless it was counted before it waited. Returns the error to raise."""
        if not message.was_throttled:
            self.count_failure(caller_network(message))
        return error

    def count_failure(self, network: str) -> None:
        """Count one failure of a network."""
        now = self._comparison.clock.seconds()
        self._comparison.throttle.record_failure(network, now)
        self._comparison.secret_throttle.record_failure(self._throttle_key(network), now)

    def uncount_failure(self, network: str) -> None:
        """Undo the count of one failure."""
        now = self._comparison.clock.seconds()
        self._comparison.throttle.revoke_failure(network, now)
        self._comparison.secret_throttle.revoke_failure(self._throttle_key(network), now)

    def _throttle_key(self, network: str) -> str:
        return f'{network} {self._secret}'


def caller_address(message: Message) -> str:
    """Return the caller's IP address, or '' if the message was not received over a network."""
    return '' if message.http is None else message.http.peer


def caller_network(message: Message) -> str:
    """Return the network of the caller's address. Failures are counted per network."""
    return client_network(caller_address(message))


def equal_secrets(first: bytes, second: bytes) -> bool:
    """Return whether two digests are equal, in constant time."""
    return compare_digest(first, second)
