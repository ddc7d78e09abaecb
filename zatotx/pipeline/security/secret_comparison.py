"""Limits wrong guesses at secrets: over its limit, a network waits before anything that it presents is compared.

What is counted:

- failures of a network (an IPv4 address, an IPv6 /64) at all definitions together: `SecretComparison.throttle`;
- its failures at one secret: `SecretComparison.at_secrets`. Within that second limit, an address that this secret has
admitted
  before is not delayed, so that clients behind the address of a guesser go on being served. Beyond it they wait too: an
  answer at once for the right secret alone would let the guesser try thousands a second.

An attempt that has to wait is counted when it comes and forgiven when it turns out to be right, so that hanging up
saves a guesser nothing. How long an attempt waits, and whether it may wait at all, never depends on its secret.
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
from zatotx.rules.security.login_throttle import LoginThrottle, network_of

MOST = 1_000  # attempts that may wait: each holds a place of the node
MOST_OF_NETWORK = 32  # of these, how many of one network: four guesses a second at most
ADDRESSES = 10_000  # that one secret has admitted, remembered


@define
class SecretComparison:
    """Shared by all definitions of a node. What is compared are digests by a key that lives and dies with the process,
    so nothing of a secret shows in how long that takes."""

    clock: IReactorTime
    throttle: LoginThrottle = field(factory=LoginThrottle)
    at_secrets: LoginThrottle = field(factory=LoginThrottle)
    _keyed: Any = field(factory=lambda: blake2b(key=urandom(32), digest_size=16), repr=False)
    _waiting: Counter[str] = field(factory=Counter)  # attempts that wait, by network
    _all_waiting: int = 0
    _attempts: WeakValueDictionary[str, Attempts] = field(factory=WeakValueDictionary, repr=False)

    def digest(self, *parts: bytes) -> bytes:
        """What stands for these parts, none of which has a zero byte."""
        keyed = self._keyed.copy()
        keyed.update(b'\0'.join(parts))
        digest: bytes = keyed.digest()
        return digest

    def attempts_at(self, secret: str) -> Attempts:
        """Who tries this secret. `secret` names what a guesser can aim at: one user name, or all API keys of one
        header field, as a key does not say whose it is meant to be."""
        attempts = self._attempts.get(secret)
        if attempts is None:
            attempts = self._attempts[secret] = Attempts(self, secret)
        return attempts

    def enter(self, network: str, delay: float) -> None:
        """Take a place among the attempts that wait. Raises TooManyRequests where the network has as many as one may
        have, ServiceUnavailable where all together are too many."""
        if self._waiting[network] >= MOST_OF_NETWORK:
            raise TooManyRequests(None, 'Too many wrong credentials came from your address: try again later',
                                  ceil(delay))  # fmt: skip
        if self._all_waiting >= MOST:
            raise ServiceUnavailable(None, 'Too many logins wait after wrong credentials: try again later', ceil(delay))
        self._waiting[network] += 1
        self._all_waiting += 1

    def pause(self, delay: float) -> Deferred[None]:
        """Fires after so many seconds."""
        return deferLater(self.clock, delay)

    def leave(self, network: str) -> None:
        """Give that place back."""
        self._all_waiting -= 1
        self._waiting[network] -= 1
        if not self._waiting[network]:
            del self._waiting[network]


class Attempts:
    """The attempts at one secret. `slowed` is empty while no network is over its limit: then `delay` is 0 for all.
    `addresses` are those that the secret has admitted."""

    __slots__ = ('__weakref__', '_guesses', '_secret', 'addresses', 'slowed')

    def __init__(self, guesses: SecretComparison, secret: str) -> None:
        self._guesses = guesses
        self._secret = secret
        self.slowed = guesses.throttle.slowed
        self.addresses: dict[str, None] = {}

    def delay(self, inbound: Message) -> float:
        """Seconds that this attempt has to wait before anything of it is compared. One that has waited has none."""
        if not self.slowed or hasattr(inbound, 'delayed'):
            return 0.0
        guesses, network, now = self._guesses, network_of_caller(inbound), self._guesses.clock.seconds()
        delay = guesses.throttle.delay(network, now)
        if delay > 0 and address_of(inbound) in self.addresses and not guesses.at_secrets.delay(self._at(network), now):
            return 0.0
        return delay

    async def wait(
        self, inbound: Message, delay: float, then: Callable[[], Principal | Awaitable[Principal]]
    ) -> Principal:
        """The principal that `then` finds after the delay. Raises what it raises; TooManyRequests or
        ServiceUnavailable at once where too many wait."""
        network = network_of_caller(inbound)
        self._guesses.enter(network, delay)
        self.failed(network)
        inbound.delayed = True
        try:
            await self._guesses.pause(delay)
        finally:
            self._guesses.leave(network)
        found = then()
        principal = found if isinstance(found, Principal) else await found
        self.forgive(network)
        return principal

    def admitted(self, inbound: Message, check: object = None) -> None:
        """It was right: remember where it came from, and, where the head alone says who calls, the `check` that has
        admitted it."""
        if check is not None and inbound.http is not None:
            inbound.http.admitted_by = check
        address = address_of(inbound)
        if address not in self.addresses:
            if len(self.addresses) >= ADDRESSES:
                del self.addresses[next(iter(self.addresses))]
            self.addresses[address] = None

    def refuse(self, inbound: Message, refused: Unauthorized) -> Unauthorized:
        """It was wrong: count it, unless that was done before it waited. Returns what to raise."""
        if not hasattr(inbound, 'delayed'):
            self.failed(network_of_caller(inbound))
        return refused

    def failed(self, network: str) -> None:
        """Count one failure of a network."""
        now = self._guesses.clock.seconds()
        self._guesses.throttle.failed(network, now)
        self._guesses.at_secrets.failed(self._at(network), now)

    def forgive(self, network: str) -> None:
        """What was counted as a failure was none."""
        now = self._guesses.clock.seconds()
        self._guesses.throttle.forgive(network, now)
        self._guesses.at_secrets.forgive(self._at(network), now)

    def _at(self, network: str) -> str:
        return f'{network} {self._secret}'


def address_of(inbound: Message) -> str:
    """The caller's address; '' where the message came by no network."""
    return '' if inbound.http is None else inbound.http.peer


def network_of_caller(inbound: Message) -> str:
    """What of it is counted together."""
    return network_of(address_of(inbound))


def equal_secrets(one: bytes, other: bytes) -> bool:
    """Whether two digests are, in constant time."""
    return compare_digest(one, other)
