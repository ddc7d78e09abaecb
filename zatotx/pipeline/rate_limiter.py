"""The rate limits of channels: who is counted together, where that is counted, and what is said to who comes too often.

All limits of a request are asked at once, and it counts for all of them or, where one has no room, for none. Those that
count on this server alone are asked first: what they refuse costs no question to Redis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from attrs import evolve, frozen

from zatotx.interfaces.rates import IBuckets, IRates
from zatotx.model.errors import ServiceUnavailable, Timeout, TooManyRequests
from zatotx.model.message import ANONYMOUS, Message
from zatotx.rules.limits.gcra import SECOND, Buckets, Rate
from zatotx.rules.limits.ratelimit_headers import RateLimitHeaders, RateLimitState, ceil_seconds
from zatotx.rules.security.login_throttle import network_of
from zatotx.schema.rate_limit import ADDRESS, CHANNEL, CLOSED, LOCAL, PRINCIPAL
from zatotx.schema.snapshot import Snapshot, Stored

_TYPE = 'rate_limit'
_BETWEEN = '\0'  # the name of a definition and that of its user


@frozen
class _Rule:
    """One limit, ready to be asked."""

    name: str
    per: str
    rate: Rate
    exact: bool
    without_redis: str
    named: str  # what the names of its buckets begin with
    of_address: str  # likewise, of callers of whom only that is known

    def bucket(self, inbound: Message) -> str:
        """The name of the one that counts this request."""
        if self.per == CHANNEL:
            return self.named + inbound.channel.name
        principal = inbound.principal
        if self.per == PRINCIPAL and principal is not None and principal is not ANONYMOUS:
            return self.named + principal.name + _BETWEEN + principal.username
        return self.of_address + client_address(inbound)


class _Limits:
    """Limits that are asked together: those of this server first."""

    __slots__ = ('fields', 'fields_here', 'here', 'rates_there', 'rules', 'there', 'without_redis')

    def __init__(self, rules: Sequence[_Rule]) -> None:
        self.here = tuple(rule for rule in rules if not rule.exact)
        self.there = tuple(rule for rule in rules if rule.exact)
        self.rules = self.here + self.there
        self.rates_there = tuple(rule.rate for rule in self.there)
        self.fields = _fields(self.rules)
        self.fields_here = _fields(self.here)
        self.without_redis: _Limits | None = None  # what holds then; None = nobody is let in
        if self.there and not any(rule.without_redis == CLOSED for rule in self.there):
            self.without_redis = _Limits([_at_home(rule) for rule in self.rules
                                          if not rule.exact or rule.without_redis == LOCAL])  # fmt: skip


class _Sets:
    """The limits of a channel, by what is known of a request when they are asked."""

    __slots__ = ('of_caller', 'of_stranger', 'whole')

    def __init__(self, rules: Sequence[_Rule]) -> None:
        self.whole = _Limits(rules)
        self.of_stranger = _Limits([rule for rule in rules if rule.per != PRINCIPAL])
        self.of_caller = _Limits([rule for rule in rules if rule.per == PRINCIPAL])


class RateLimiter:
    """The limits in force on this node. `refused` counts requests by (kind, name) of their channel, `unchecked` those
    whose exact limits Redis could not be asked about."""

    def __init__(
        self, rates: IRates | None = None, buckets: IBuckets | None = None, now: Callable[[], float] = monotonic
    ) -> None:
        """`now`: seconds of a clock that never goes back, the same one for all processes that share `buckets`."""
        self._rates = rates
        self._buckets: Any = Buckets() if buckets is None else buckets
        self._now = now
        self._rules: dict[str, _Rule] = {}
        self._gone: dict[str, _Rule] = {}
        self._sets: dict[tuple[str, ...], _Sets] = {}
        self._used: frozenset[str] = frozenset()  # names of limits that channels have
        self.refused: Counter[tuple[str, str]] = Counter()
        self.unchecked = 0

    def apply(self, snapshot: Snapshot) -> None:
        """Take over the limits of a snapshot. A name that is gone means what it did until the next one comes: requests
        whose head came before go by it."""
        stored = snapshot.of(_TYPE)
        names = {one.name for one in stored}
        self._gone = {name: rule for name, rule in self._rules.items() if name not in names}
        self._rules = {one.name: _rule(one) for one in stored if one.value.is_active}
        limited = {one.name: limits for one in snapshot if (limits := getattr(one.value, 'rate_limits', None))}
        self._used = frozenset(name for limits in limited.values() for name in limits)
        self._sets = {}
        for channel in [channel for channel in self.refused if channel[1] not in limited]:
            del self.refused[channel]

    def exact(self) -> Mapping[str, Sequence[str]]:
        """What becomes of exact limits that channels have while Redis is away ('local', 'open', 'closed'): names of
        those limits."""
        found: dict[str, list[str]] = {}
        for name, rule in sorted(self._rules.items()):
            if rule.exact and name in self._used:
                found.setdefault(rule.without_redis, []).append(name)
        return found

    # Requests. Each of these three gives what is to be awaited, None where nothing has to be; it raises, or fails with,
    # TooManyRequests, or ServiceUnavailable where limits cannot be checked and are such that nobody is let in then.

    def take(self, inbound: Message) -> Awaitable[None] | None:
        """Count a request whose principal is known."""
        return self._take(self._sets_of(inbound).whole, inbound)

    def take_stranger(self, inbound: Message) -> Awaitable[None] | None:
        """Count a request whose principal is not known yet, or that was refused for want of one."""
        return self._take(self._sets_of(inbound).of_stranger, inbound)

    def take_caller(self, inbound: Message) -> Awaitable[None] | None:
        """Count a request for the principal that it turned out to be of, after `take_stranger`."""
        limits = self._sets_of(inbound).of_caller
        return self._take(limits, inbound) if limits.rules else None

    def _sets_of(self, inbound: Message) -> _Sets:
        names = inbound.channel.rates
        found = self._sets.get(names)
        if found is None:
            rules = (self._rules.get(name) or self._gone.get(name) for name in names)
            found = self._sets[names] = _Sets([rule for rule in rules if rule is not None])
        return found

    def _take(self, limits: _Limits, inbound: Message) -> Awaitable[None] | None:
        if limits.there:
            return self._take_exact(limits, inbound)
        rules = limits.rules
        if len(rules) == 1:  # as mostly
            rule = rules[0]
            rate = rule.rate
            ahead = self._buckets.charge(rule.bucket(inbound), rate, int(self._now() * SECOND))
            moved = ahead + rate.interval
            if moved <= rate.tolerance:
                inbound.standing = RateLimitState(limits.fields, (moved,))
                return None
            self._told(limits, inbound, (ahead,), admitted=False)
        aheads, admitted = self._charge(rules, inbound)
        self._told(limits, inbound, aheads, admitted=admitted)
        return None

    async def _take_exact(self, limits: _Limits, inbound: Message) -> None:
        """Ask Redis, for the limits that this server's own ones leave to be asked."""
        aheads: list[int] = []
        if limits.here:
            aheads, admitted = self._charge(limits.here, inbound)
            if not admitted:
                self._told(limits, inbound, aheads, admitted=False)
        names = tuple([rule.bucket(inbound) for rule in limits.there])
        try:
            if self._rates is None:
                raise ServiceUnavailable(None, 'there is no Redis')
            charge = await self._rates.charge(names, limits.rates_there)
        except (ServiceUnavailable, Timeout):
            self.unchecked += 1
            self._give_back(limits.here, inbound)
            self._take_without_redis(limits, inbound)
            return
        if limits.here and not charge.admitted:
            self._give_back(limits.here, inbound)
        self._told(limits, inbound, [*aheads, *charge.aheads], admitted=charge.admitted)

    def _take_without_redis(self, limits: _Limits, inbound: Message) -> None:
        if limits.without_redis is None:
            raise ServiceUnavailable(
                None, f'The rate limits of channel {inbound.channel.name} cannot be checked: try again later'
            )
        self._take(limits.without_redis, inbound)

    def _charge(self, rules: Sequence[_Rule], inbound: Message) -> tuple[list[int], bool]:
        """On this server: how far ahead each bucket was, and whether all of them had room."""
        now = int(self._now() * SECOND)
        charge = self._buckets.charge
        aheads = [charge(rule.bucket(inbound), rule.rate, now) for rule in rules]
        admitted = [rule.rate.admits(ahead) for rule, ahead in zip(rules, aheads, strict=True)]
        if all(admitted):
            return aheads, True
        self._give_back([rule for rule, room in zip(rules, admitted, strict=True) if room], inbound)
        return aheads, False

    def _give_back(self, rules: Sequence[_Rule], inbound: Message) -> None:
        for rule in rules:
            self._buckets.give_back(rule.bucket(inbound), rule.rate)

    def _told(self, limits: _Limits, inbound: Message, aheads: Sequence[int], *, admitted: bool) -> None:
        """Set how it stands, and refuse the request where it is one too many. Where Redis was not asked, `aheads` are
        those of this server's limits."""
        rules = limits.rules if len(aheads) == len(limits.rules) else limits.here
        if admitted:
            aheads = [ahead + rule.rate.interval for rule, ahead in zip(rules, aheads, strict=True)]
        fields = limits.fields if rules is limits.rules else limits.fields_here
        inbound.standing = RateLimitState(fields, aheads)
        if not admitted:
            self.refused[inbound.channel.kind, inbound.channel.name] += 1
            raise _too_many(rules, aheads)


def client_address(inbound: Message) -> str:
    """Who is at the other end, as far as that is known: a network of the size that one customer has."""
    return network_of(inbound.http.peer) if inbound.http is not None else ''


def _rule(stored: Stored) -> _Rule:
    limit = stored.value
    # By the id, so that a limit that is renamed goes on counting; by its pace, so that one that is raised helps at once
    # those who have used it up, whose buckets would stay as far ahead as they are.
    count, seconds, burst = limit.pace
    pace = f'{count}/{seconds}/{burst}'
    return _Rule(limit.name, limit.per, Rate.of(count, seconds, burst), limit.exact, limit.when_redis_is_away,
                 f'{stored.id}:{limit.per}:{pace}:', f'{stored.id}:{ADDRESS}:{pace}:')  # fmt: skip


def _fields(rules: Sequence[_Rule]) -> RateLimitHeaders:
    return RateLimitHeaders([rule.name for rule in rules], [rule.rate for rule in rules])


def _at_home(rule: _Rule) -> _Rule:
    return evolve(rule, exact=False)


def _too_many(rules: Sequence[_Rule], aheads: Sequence[int]) -> TooManyRequests:
    """The fault: of the limits that have no room, the one that takes longest to have some."""
    wait, rule = max(((rule.rate.wait(ahead), rule) for rule, ahead in zip(rules, aheads, strict=True)),
                     key=lambda one: one[0])  # fmt: skip
    after = max(1, ceil_seconds(wait))
    return TooManyRequests(None, f'Too many requests: rate limit {rule.name} takes the next one in {after} s', after)
