"""The health state of a backend server, calculated from the results of probes and traffic. Pure; times are in seconds
on one clock.

Two things take a server out. Failed probes mark it down, until `rise` probes in a row succeed. Consecutive failures of
the transport in traffic eject it for a while; one good probe ends that, because the probe has shown that connections to
the server work again. The status of a response never counts: a service that is broken, or a server that is full, must
not take a server out.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve, frozen

REPEAT_DELAY = 0.0  # seconds until a probe that failed is repeated
_JITTER = 0.2  # share by which intervals are shortened at random, so that the probes of many servers spread out


@frozen(kw_only=True)
class HealthPolicy:
    """The settings that determine when a server is marked down and up again: the values of `Check` and `Ejection` in
    lb.toml."""

    interval: float = 1.0  # seconds between the starts of two probes
    rise: int = 2
    fall: int = 2
    is_checked: bool = True  # whether there are probes at all
    ejection_failures: int = 3  # consecutive ones in traffic; 0 = traffic ejects no server
    ejection_duration: float = 10.0
    max_ejection_duration: float = 300.0


@frozen(kw_only=True)
class ServerHealth:
    """The health state of one server. A server that has not been probed yet counts as up."""

    is_down: bool = False
    has_been_probed: bool = False
    has_been_up: bool = False  # whether a probe has ever succeeded so that it was up
    reason: str = ''  # why it is down or ejected
    good_probes: int = 0  # in a row, counted up to `rise`
    failed_probes: int = 0  # in a row, counted up to `fall`
    traffic_failures: int = 0  # in a row
    ejections: int = 0  # since the server was last without failures for as long as the longest ejection
    ejected_until: float | None = None
    last_ejection: float = 0.0

    def is_ejected(self, now: float) -> bool:
        """Whether failures in traffic keep the server out."""
        return self.ejected_until is not None and now < self.ejected_until

    def record_good_probe(self, policy: HealthPolicy) -> ServerHealth:
        """Return the health after a probe succeeded. The first one that succeeds decides alone: `rise` is for servers
        that were up before."""
        good = min(self.good_probes + 1, policy.rise)
        is_down = self.is_down and self.has_been_up and good < policy.rise
        return evolve(
            self, has_been_probed=True, has_been_up=self.has_been_up or not is_down, good_probes=good, failed_probes=0,
            is_down=is_down, traffic_failures=0, ejected_until=None, reason=self.reason if is_down else '',
        )  # fmt: skip

    def record_failed_probe(self, policy: HealthPolicy, reason: str) -> ServerHealth:
        """Return the health after a probe failed. The first probe of a server decides alone."""
        failed = min(self.failed_probes + 1, policy.fall)
        is_down = self.is_down or failed >= policy.fall or not self.has_been_probed
        return evolve(self, has_been_probed=True, good_probes=0, failed_probes=failed, is_down=is_down,
                      reason=reason if is_down else self.reason)

    def record_traffic_success(self) -> ServerHealth:
        """Return the health after a well-formed response."""
        return evolve(self, traffic_failures=0) if self.traffic_failures else self

    def record_traffic_failure(self, policy: HealthPolicy, reason: str, now: float) -> ServerHealth:
        """Return the health after a failure of the transport. While a server is ejected, further failures, of requests
        that were in flight, do not prolong that."""
        failures = self.traffic_failures + 1
        if not policy.ejection_failures or failures < policy.ejection_failures or self.is_ejected(now):
            return evolve(self, traffic_failures=failures)
        is_stable = now - self.last_ejection > policy.max_ejection_duration
        ejections = 1 if is_stable or not self.ejections else self.ejections + 1
        duration = min(policy.ejection_duration * 2 ** min(ejections - 1, 30), policy.max_ejection_duration)
        return evolve(self, traffic_failures=0, ejections=ejections, ejected_until=now + duration, last_ejection=now,
                      reason=f'{policy.ejection_failures} failures in a row, the last one: {reason}')


def next_probe_delay(health: ServerHealth, policy: HealthPolicy, elapsed: float, random: Callable[[], float]) -> float:
    """Return the seconds until the next probe of a server. `elapsed` is the time since the last probe started. When a
    probe of a server that is up fails for the first time, the probe is repeated immediately."""
    if health.failed_probes == 1 and not health.is_down:
        return REPEAT_DELAY
    return max(0.0, policy.interval * (1 - _JITTER * random()) - elapsed)
