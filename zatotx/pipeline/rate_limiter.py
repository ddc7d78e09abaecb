"""Rate limits of channels. Requests are counted per channel, principal or address, and rejected when they exceed a
limit.

All limits of a request are checked together: it counts against all of them or, if one is exceeded, against none. Limits
counted in this process are checked before those in Redis, so that what they reject costs no call to Redis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from attrs import evolve, frozen

from zatotx.interfaces.rate_limits import ILocalRateBuckets, ISharedRateBuckets
from zatotx.model.errors import ServiceUnavailable, Timeout, TooManyRequests
from zatotx.model.message import ANONYMOUS, Message
from zatotx.rules.limits.rate_buckets import (
    SECOND,
    GcraRate,
    RateBuckets,
    RateLimitHeaders,
    RateLimitState,
    ceil_seconds,
)
from zatotx.rules.security.login_throttle import client_network
from zatotx.schema.rate_limit import ADDRESS, CHANNEL, CLOSED, LOCAL, PRINCIPAL
from zatotx.schema.snapshot import Snapshot, StoredObject

_TYPE = 'rate_limit'
_SEPARATOR = '\0'  # between the name of a definition and the name of its user


@frozen
class _Rule:
    """One rate limit, compiled for checking."""

    name: str
    per: str
    rate: GcraRate
    exact: bool
    without_redis: str
    key_prefix: str  # prefix of its bucket keys
    address_key_prefix: str  # the same, for callers of whom only the address is known

    def bucket(self, message: Message) -> str:
        """Return the key of the bucket that counts this request."""
        if self.per == CHANNEL:
            return self.key_prefix + message.channel.name
        principal = message.principal
        if self.per == PRINCIPAL and principal is not None and principal is not ANONYMOUS:
            return self.key_prefix + principal.name + _SEPARATOR + principal.username
        return self.address_key_prefix + message_network(message)


class _Limits:
    """Rate limits that are checked together; those counted in this process come first."""

    __slots__ = ('fields', 'local', 'local_fields', 'remote', 'remote_rates', 'rules', 'without_redis')

    def __init__(self, rules: Sequence[_Rule]) -> None:
        self.local = tuple(rule for rule in rules if not rule.exact)
        self.remote = tuple(rule for rule in rules if rule.exact)
        self.rules = self.local + self.remote
        self.remote_rates = tuple(rule.rate for rule in self.remote)
        self.fields = _fields(self.rules)
        self.local_fields = _fields(self.local)
        self.without_redis: _Limits | None = None  # applied while Redis is unavailable; None = requests are rejected
        if self.remote and not any(rule.without_redis == CLOSED for rule in self.remote):
            self.without_redis = _Limits([_counted_locally(rule) for rule in self.rules
                                          if not rule.exact or rule.without_redis == LOCAL])  # fmt: skip


class _LimitsByStage:
    """The rate limits of a channel, by what is known of a request at the time of the check."""

    __slots__ = ('all', 'per_principal', 'without_principal')

    def __init__(self, rules: Sequence[_Rule]) -> None:
        self.all = _Limits(rules)
        self.without_principal = _Limits([rule for rule in rules if rule.per != PRINCIPAL])
        self.per_principal = _Limits([rule for rule in rules if rule.per == PRINCIPAL])


class RateLimiter:
    """Checks the rate limits of this node. `refused` counts rejected requests by the kind and name of their channel.
    `unchecked` counts the requests whose exact limits could not be checked because Redis was unavailable."""

    def __init__(
        self,
        rates: ISharedRateBuckets | None = None,
        buckets: ILocalRateBuckets | None = None,
        now: Callable[[], float] = monotonic,
    ) -> None:
        """`now`: seconds of a monotonic clock, the same one for all processes that share `buckets`."""
        self._rates = rates
        self._buckets: Any = RateBuckets() if buckets is None else buckets
        self._now = now
        self._rules: dict[str, _Rule] = {}
        self._removed: dict[str, _Rule] = {}
        self._limits_by_names: dict[tuple[str, ...], _LimitsByStage] = {}
        self._names_in_use: frozenset[str] = frozenset()  # names of limits that channels refer to
        self.refused: Counter[tuple[str, str]] = Counter()
        self.unchecked = 0

    def apply(self, snapshot: Snapshot) -> None:
        """Apply the limits of a snapshot. A removed limit stays in force until the next snapshot, for requests whose
        head arrived before this one."""
        stored = snapshot.objects_of_types(_TYPE)
        names = {item.name for item in stored}
        self._removed = {name: rule for name, rule in self._rules.items() if name not in names}
        self._rules = {item.name: _rule(item) for item in stored if item.value.is_active}
        limited = {item.name: limits for item in snapshot.objects_with('rate_limits')
                   if (limits := item.value.rate_limits)}  # fmt: skip
        self._names_in_use = frozenset(name for limits in limited.values() for name in limits)
        self._limits_by_names = {}
        for channel in [channel for channel in self.refused if channel[1] not in limited]:
            del self.refused[channel]

    def exact_limits(self) -> Mapping[str, Sequence[str]]:
        """Return the names of the exact limits in use, by what happens to them while Redis is unavailable ('local',
        'open', 'closed')."""
        names_by_policy: dict[str, list[str]] = {}
        for name, rule in sorted(self._rules.items()):
            if rule.exact and name in self._names_in_use:
                names_by_policy.setdefault(rule.without_redis, []).append(name)
        return names_by_policy

    # The three methods below return an awaitable, or None if there is nothing to wait for. They raise, or the awaitable
    # fails with, TooManyRequests, or ServiceUnavailable if the limits cannot be checked and their policy rejects
    # requests then.

    def charge(self, message: Message) -> Awaitable[None] | None:
        """Count a request whose principal is known."""
        return self._take(self._limits_of(message).all, message)

    def charge_unauthenticated(self, message: Message) -> Awaitable[None] | None:
        """Count a request whose principal is not known yet, or that was rejected for lack of one."""
        return self._take(self._limits_of(message).without_principal, message)

    def charge_principal(self, message: Message) -> Awaitable[None] | None:
        """Count a request against the limits of its principal, after `charge_unauthenticated`."""
        limits = self._limits_of(message).per_principal
        return self._take(limits, message) if limits.rules else None

    def _limits_of(self, message: Message) -> _LimitsByStage:
        names = message.channel.rate_limits
        limits = self._limits_by_names.get(names)
        if limits is None:
            rules = (self._rules.get(name) or self._removed.get(name) for name in names)
            limits = self._limits_by_names[names] = _LimitsByStage([rule for rule in rules if rule is not None])
        return limits

    def _take(self, limits: _Limits, message: Message) -> Awaitable[None] | None:
        if limits.remote:
            return self._take_with_redis(limits, message)
        rules = limits.rules
        if len(rules) == 1:  # the usual case
            rule = rules[0]
            rate = rule.rate
            ahead = self._buckets.charge(rule.bucket(message), rate, int(self._now() * SECOND))
            charged = ahead + rate.interval
            if charged <= rate.tolerance:
                message.rate_limit_state = RateLimitState(limits.fields, (charged,))
                return None
            self._report(limits, message, (ahead,), admitted=False)
        leads, admitted = self._charge(rules, message)
        self._report(limits, message, leads, admitted=admitted)
        return None

    async def _take_with_redis(self, limits: _Limits, message: Message) -> None:
        """Charge the local limits, then those in Redis."""
        leads: list[int] = []
        if limits.local:
            leads, admitted = self._charge(limits.local, message)
            if not admitted:
                self._report(limits, message, leads, admitted=False)
        names = tuple([rule.bucket(message) for rule in limits.remote])
        try:
            if self._rates is None:
                raise ServiceUnavailable(None, 'Redis is not configured')
            charge = await self._rates.charge(names, limits.remote_rates)
        except (ServiceUnavailable, Timeout):
            self.unchecked += 1
            self._give_back(limits.local, message)
            self._take_without_redis(limits, message)
            return
        if limits.local and not charge.admitted:
            self._give_back(limits.local, message)
        self._report(limits, message, [*leads, *charge.bucket_leads], admitted=charge.admitted)

    def _take_without_redis(self, limits: _Limits, message: Message) -> None:
        if limits.without_redis is None:
            raise ServiceUnavailable(
                None, f'The rate limits of channel {message.channel.name} cannot be checked: try again later'
            )
        self._take(limits.without_redis, message)

    def _charge(self, rules: Sequence[_Rule], message: Message) -> tuple[list[int], bool]:
        """Charge buckets in this process. Returns how far ahead each bucket was, in ticks of GCRA, and whether all of
        them admit the request."""
        now = int(self._now() * SECOND)
        charge = self._buckets.charge
        leads = [charge(rule.bucket(message), rule.rate, now) for rule in rules]
        admitted = [rule.rate.admits(ahead) for rule, ahead in zip(rules, leads, strict=True)]
        if all(admitted):
            return leads, True
        self._give_back([rule for rule, is_admitted in zip(rules, admitted, strict=True) if is_admitted], message)
        return leads, False

    def _give_back(self, rules: Sequence[_Rule], message: Message) -> None:
        for rule in rules:
            self._buckets.refund(rule.bucket(message), rule.rate)

    def _report(self, limits: _Limits, message: Message, leads: Sequence[int], *, admitted: bool) -> None:
        """Set the message's RateLimitState, and raise TooManyRequests unless it is admitted. If Redis was not asked,
        `leads` belong to the local limits."""
        rules = limits.rules if len(leads) == len(limits.rules) else limits.local
        if admitted:
            leads = [ahead + rule.rate.interval for rule, ahead in zip(rules, leads, strict=True)]
        fields = limits.fields if rules is limits.rules else limits.local_fields
        message.rate_limit_state = RateLimitState(fields, leads)
        if not admitted:
            self.refused[message.channel.kind, message.channel.name] += 1
            raise _too_many_requests(rules, leads)


def message_network(message: Message) -> str:
    """Return the caller's network for rate limiting: the IPv4 address, or the IPv6 network of the size that is usually
    assigned to one customer. Returns '' if the network is unknown."""
    return client_network(message.http.peer) if message.http is not None else ''


def _rule(stored: StoredObject) -> _Rule:
    limit = stored.value
    # The key contains the id, so that a renamed limit keeps its counts, and the pace, so that raising a limit helps
    # callers at once who have exhausted it: their buckets would stay as far ahead as they are.
    count, seconds, burst = limit.rate
    pace = f'{count}/{seconds}/{burst}'
    return _Rule(
        limit.name,
        limit.per,
        GcraRate.from_limit(count, seconds, burst),
        limit.exact,
        limit.when_redis_is_away,
        f'{stored.id}:{limit.per}:{pace}:',
        f'{stored.id}:{ADDRESS}:{pace}:',
    )


def _fields(rules: Sequence[_Rule]) -> RateLimitHeaders:
    return RateLimitHeaders([rule.name for rule in rules], [rule.rate for rule in rules])


def _counted_locally(rule: _Rule) -> _Rule:
    return evolve(rule, exact=False)


def _too_many_requests(rules: Sequence[_Rule], leads: Sequence[int]) -> TooManyRequests:
    """Return the error for the exceeded limit that takes longest to admit the next request."""
    wait, rule = max(((rule.rate.wait_time(ahead), rule) for rule, ahead in zip(rules, leads, strict=True)),
                     key=lambda pair: pair[0])  # fmt: skip
    after = max(1, ceil_seconds(wait))
    return TooManyRequests(None, f'Too many requests: rate limit {rule.name} admits the next one in {after} s', after)
