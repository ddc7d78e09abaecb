"""Tests of the health of backend servers, of which of them take requests, and of the sticky cookie."""

from __future__ import annotations

from attrs import define, evolve
from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.balancing.server_eligibility import select_eligible_servers, slow_start_weight
from zatotx.rules.balancing.server_health import HealthPolicy, ServerHealth, next_probe_delay
from zatotx.rules.balancing.sticky_cookie import make_cookie_name, make_cookie_value

POLICY = HealthPolicy()


def eject(health: ServerHealth, now: float, policy: HealthPolicy = POLICY) -> ServerHealth:
    """Return the health after as many failures as eject a server."""
    for _ in range(policy.ejection_failures):
        health = health.record_traffic_failure(policy, 'connection refused', now)
    return health


class ProbeTests(SynchronousTestCase):
    def test_first_probe_decides(self) -> None:
        """A server counts as up until its first probe, which takes it out alone; the first good probe makes it up."""
        self.assertFalse(ServerHealth().is_down)
        self.assertTrue(ServerHealth().record_failed_probe(POLICY, 'refused').is_down)
        self.assertFalse(ServerHealth().record_good_probe(POLICY).is_down)
        self.assertFalse(ServerHealth().record_failed_probe(POLICY, 'refused').record_good_probe(POLICY).is_down)

    def test_fall_and_rise(self) -> None:
        """Two failed probes in a row take a server out, and two good ones in a row bring it back."""
        health = ServerHealth().record_good_probe(POLICY).record_failed_probe(POLICY, 'timed out')
        self.assertFalse(health.is_down)
        self.assertFalse(health.record_good_probe(POLICY).record_failed_probe(POLICY, 'timed out').is_down)
        health = health.record_failed_probe(POLICY, 'timed out')
        self.assertEqual((health.is_down, health.reason), (True, 'timed out'))
        health = health.record_good_probe(POLICY)
        self.assertTrue(health.is_down)
        self.assertTrue(health.record_failed_probe(POLICY, 'refused').record_good_probe(POLICY).is_down)
        health = health.record_good_probe(POLICY)
        self.assertEqual((health.is_down, health.reason), (False, ''))

    def test_failed_probe_is_repeated_at_once(self) -> None:
        """The probe after a failed one comes at once while the server is up, otherwise after the interval, shortened by
        up to a fifth at random."""
        up = ServerHealth().record_good_probe(POLICY)
        self.assertEqual(next_probe_delay(up.record_failed_probe(POLICY, 'x'), POLICY, 1.0, lambda: 0.0), 0.0)
        self.assertEqual(next_probe_delay(up, POLICY, 0.25, lambda: 0.0), 0.75)
        self.assertAlmostEqual(next_probe_delay(up, POLICY, 0.25, lambda: 0.5), 0.65)
        down = ServerHealth().record_failed_probe(POLICY, 'x')
        self.assertEqual(next_probe_delay(down, POLICY, 0.0, lambda: 0.0), 1.0)
        self.assertEqual(next_probe_delay(down, POLICY, 5.0, lambda: 0.0), 0.0)


class EjectionTests(SynchronousTestCase):
    def test_failures_in_a_row_eject(self) -> None:
        """The third failure in a row ejects a server for ten seconds; a response in between starts the count anew."""
        health = ServerHealth()
        for _ in range(2):
            health = health.record_traffic_failure(POLICY, 'reset', 100.0)
        health = health.record_traffic_success()
        for _ in range(2):
            health = health.record_traffic_failure(POLICY, 'reset', 100.0)
        self.assertFalse(health.is_ejected(100.0))
        health = health.record_traffic_failure(POLICY, 'reset', 100.0)
        self.assertTrue(health.is_ejected(109.9))
        self.assertFalse(health.is_ejected(110.0))
        self.assertEqual(health.reason, '3 failures in a row, the last one: reset')

    def test_one_good_probe_ends_it(self) -> None:
        """One good probe brings an ejected server back, and a failed one does not."""
        health = eject(ServerHealth().record_good_probe(POLICY), 100.0)
        self.assertTrue(health.record_failed_probe(POLICY, 'x').is_ejected(101.0))
        back = health.record_good_probe(POLICY)
        self.assertEqual((back.is_ejected(101.0), back.reason), (False, ''))

    def test_repeated_ejections_last_longer(self) -> None:
        """Each further ejection lasts twice as long, up to five minutes; after a long time without one, the first
        duration counts again. Failures while a server is ejected do not prolong it."""
        health, now, durations = ServerHealth(), 0.0, []
        for _ in range(7):
            health = eject(health, now)
            assert health.ejected_until is not None
            durations.append(health.ejected_until - now)
            self.assertEqual(eject(health, now + 1).ejected_until, health.ejected_until)
            now = health.ejected_until
        self.assertEqual(durations, [10, 20, 40, 80, 160, 300, 300])
        later = eject(evolve(health, traffic_failures=0), now + 1000)
        self.assertEqual(later.ejected_until, now + 1010)

    def test_can_be_off(self) -> None:
        """With 0 failures, traffic ejects no server."""
        policy = HealthPolicy(ejection_failures=0)
        health = ServerHealth()
        for _ in range(50):
            health = health.record_traffic_failure(policy, 'reset', 0.0)
        self.assertFalse(health.is_ejected(0.0))


@define
class Server:
    """The condition of a server."""

    name: str
    is_backup: bool = False
    is_ready: bool = True
    is_down: bool = False
    is_ejected: bool = False


def names(*servers: Server) -> str:
    return ''.join(server.name for server in select_eligible_servers(servers))


class AvailabilityTests(SynchronousTestCase):
    def test_groups(self) -> None:
        """Healthy servers come first, then healthy backup servers, then ejected ones; servers that are down or not
        ready take nothing."""
        backup = Server('b', is_backup=True)
        ejected, down, maint = Server('e', is_ejected=True), Server('d', is_down=True), Server('m', is_ready=False)
        self.assertEqual(names(Server('1'), Server('2'), backup, ejected, down, maint), '12')
        self.assertEqual(names(backup, ejected, down, maint), 'b')
        self.assertEqual(names(ejected, down, maint), 'e')
        self.assertEqual(names(ejected, evolve(backup, is_ejected=True)), 'e')
        self.assertEqual(names(down, maint, Server('x', is_down=True, is_ejected=True)), '')

    def test_slow_start(self) -> None:
        """The effective weight grows from a tenth to the whole weight."""
        self.assertEqual([slow_start_weight(10, elapsed, 20) for elapsed in (0, 1, 10, 20, 99)], [1, 1, 5, 10, 10])
        self.assertEqual(slow_start_weight(10, 0, 0), 10)


class StickyCookieTests(SynchronousTestCase):
    def test_name_has_the_cluster(self) -> None:
        """Two clusters on one host do not share cookies, and any cluster name gives a valid cookie name."""
        self.assertEqual(make_cookie_name('zato-lb', 'prod 1;é'), 'zato-lb-prod_1__')

    def test_value_is_stable_and_opaque(self) -> None:
        """The value is the same in every process, differs by cluster, backend and server, and hides the name."""
        value = make_cookie_value('c', 'b', 'server1')
        self.assertEqual(value, make_cookie_value('c', 'b', 'server1'))
        self.assertEqual(value, '3a437072cc340b8c')
        others = {make_cookie_value('c', 'b', 'server2'), make_cookie_value('c', 'x', 'server1'),
                  make_cookie_value('x', 'b', 'server1'), make_cookie_value('cb', '', 'server1')}
        self.assertEqual(len(others | {value}), 5)
