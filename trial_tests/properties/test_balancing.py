"""What the balancing algorithms guarantee for all weights and loads: fair shares, no starvation, minimal movement."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from attrs import define, field
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.properties import holds
from zatotx.rules.balancing.algorithms import choose_lowest_load, choose_power_of_two, choose_round_robin
from zatotx.rules.balancing.consistent_hash import choose_consistent_hash, hash_text

WEIGHTS = st.lists(st.integers(1, 256), min_size=1, max_size=10)


@define(eq=False)
class Server:
    """A server as the algorithms see it."""

    name: str
    weight: float = 1.0
    in_flight: int = 0
    credit: float = 0.0
    choices: int = 0
    seed: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.seed = hash_text(self.name)


def servers_of(weights: Sequence[float]) -> list[Server]:
    return [Server(f'server{number}', weight) for number, weight in enumerate(weights)]


class RoundRobinProperties(SynchronousTestCase):
    @holds(examples=40, weights=WEIGHTS)
    def test_fair(self, weights: list[int]) -> None:
        """After any number of choices, each server has been chosen as often as its weight demands, within one."""
        servers, total = servers_of(weights), sum(weights)
        for turn in range(1, min(total, 300) + 1):
            choose_round_robin(servers).choices += 1
            for server in servers:
                self.assertLess(abs(server.choices - turn * server.weight / total), 1.0)

    @holds(examples=40, weights=WEIGHTS, gone=st.integers(0, 9))
    def test_fair_after_a_change(self, weights: list[int], gone: int) -> None:
        """When a server leaves, the others share its choices at once, each within two of its new share."""
        servers = servers_of(weights)
        for _ in range(50):
            choose_round_robin(servers)
        left = [server for number, server in enumerate(servers) if number != gone % len(servers)] or servers
        total = sum(server.weight for server in left)
        for turn in range(1, 200):
            choose_round_robin(left).choices += 1
            for server in left:
                self.assertLess(abs(server.choices - turn * server.weight / total), 2.0)


class LeastConnectionsProperties(SynchronousTestCase):
    @holds(examples=40, weights=st.lists(st.integers(1, 20), min_size=1, max_size=8), seed=st.integers(0, 10_000))
    def test_balanced_and_nobody_starves(self, weights: list[int], seed: int) -> None:
        """The chosen server never has more load for its weight than another one, and while requests come and go, each
        server is chosen in every run of choices that is long enough for its weight."""
        servers, random = servers_of(weights), Random(seed)
        busy: list[Server] = []
        for _ in range(400):
            chosen = choose_lowest_load(servers)
            self.assertEqual(chosen.in_flight / chosen.weight, min(one.in_flight / one.weight for one in servers))
            chosen.in_flight += 1
            chosen.choices += 1
            busy.append(chosen)
            if random.random() < 0.6:
                done = busy.pop(random.randrange(len(busy)))
                done.in_flight -= 1
        self.assertTrue(all(server.choices for server in servers))

    @holds(examples=40, weights=WEIGHTS)
    def test_idle_servers_take_turns(self, weights: list[int]) -> None:
        """If requests come one by one, so that all loads are equal, each server gets the share of its weight."""
        servers, total = servers_of(weights), sum(weights)
        for turn in range(1, min(total, 300) + 1):
            choose_lowest_load(servers).choices += 1
            for server in servers:
                self.assertLessEqual(abs(server.choices - turn * server.weight / total), 1.0 if len(servers) > 1 else 0)

    @holds(weights=st.lists(st.integers(1, 20), min_size=2, max_size=8), seed=st.integers(0, 10_000))
    def test_power_of_two_choices(self, weights: list[int], seed: int) -> None:
        """The server with the highest load for its weight is never chosen by power of two choices."""
        servers, random = servers_of(weights), Random(seed)
        for server in servers:
            server.in_flight = random.randrange(50)
        worst = max(server.in_flight / server.weight for server in servers)
        if sum(server.in_flight / server.weight == worst for server in servers) == 1:
            for _ in range(50):
                chosen = choose_power_of_two(servers, random.random)
                self.assertLess(chosen.in_flight / chosen.weight, worst)


    def test_draws_follow_the_weights(self) -> None:
        """Power of two choices draws the first server by weight, and keeps it if the second one is not less loaded."""
        servers = servers_of([1, 2, 5])
        for number in range(800):
            choose_power_of_two(servers, iter([number / 800, 0.0]).__next__).choices += 1
        self.assertEqual([server.choices for server in servers], [100, 200, 500])


class ConsistentHashProperties(SynchronousTestCase):
    @holds(examples=40, weights=st.lists(st.integers(1, 20), min_size=2, max_size=8), gone=st.integers(0, 7))
    def test_minimal_movement(self, weights: list[int], gone: int) -> None:
        """If a server leaves, exactly its own keys move; if it comes back, exactly these return."""
        servers = servers_of(weights)
        removed = servers[gone % len(servers)]
        left = [server for server in servers if server is not removed]
        for number in range(200):
            key = hash_text(f'client {number}')
            before = choose_consistent_hash(servers, key, 1_000_000)
            after = choose_consistent_hash(left, key, 1_000_000)
            self.assertIs(after, after if before is removed else before)

    @holds(examples=40, weights=st.lists(st.integers(1, 10), min_size=2, max_size=6), seed=st.integers(0, 1000))
    def test_bounded_load(self, weights: list[int], seed: int) -> None:
        """Even if all requests have one key, no server's load exceeds 125 % of the average for its weight, rounded
        up."""
        servers, key, total = servers_of(weights), hash_text(str(seed)), sum(weights)
        for load in range(1, 150):
            chosen = choose_consistent_hash(servers, key, 125)
            chosen.in_flight += 1
            self.assertLess(chosen.in_flight, load * 1.25 * chosen.weight / total + 1)

    def test_shares_follow_the_weights(self) -> None:
        """Of many keys, each server gets the share of its weight."""
        servers = servers_of([1, 2, 5])
        for number in range(8000):
            choose_consistent_hash(servers, hash_text(f'10.1.{number // 256}.{number % 256}'), 1_000_000).choices += 1
        for server in servers:
            self.assertLess(abs(server.choices / 1000 - server.weight), 0.15)
