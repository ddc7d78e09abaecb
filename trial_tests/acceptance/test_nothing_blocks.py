"""Nothing blocks the server: while operations take seconds and while peers are frozen, other requests are answered."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support import postgresql
from trial_tests.support.blocking_operations import (
    CHANNEL_KINDS,
    FROZEN,
    LIVE,
    OPERATIONS,
    STALL,
    FrozenPeer,
    Operation,
    Peers,
    Site,
    Stalls,
    document,
    path,
    services,
)
from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.pings import Pings
from trial_tests.support.waiting import until
from zatotx.connectors.kind_registry import find_kinds, object_types_of_kinds

SECONDS = 1.5  # duration of an operation, and timeout of all connections
AT_ONCE = 5  # operations of each row
BOUND = 1.0  # seconds that a busy machine may take, a bound of the histogram; what blocks takes SECONDS
ATTEMPTS = 4  # a busy machine may exceed the 10 %; what is wrong exceeds them each time
_peers: list[Peers] = []


def build() -> Broker:
    """A server with the services and connections of the table."""
    broker = create()
    broker.set('kvdb', timeout=SECONDS)
    broker.set('main', connector_kinds=list(CHANNEL_KINDS))
    peers = Peers(broker.path, postgresql.shared())  # before the server, which imports their drivers
    _peers.append(peers)
    broker.start()
    broker.serve('blocking_services.py', services(SECONDS))
    broker.configure(json.dumps(document(peers, SECONDS, AT_ONCE)))
    return broker


class _WithServer(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = shared('blocking', build)
        self.peers = _peers[-1]
        self.site = Site(port=self.broker.port(), authorization=self.broker.admin(), seconds=SECONDS, peers=self.peers)


class NothingBlocksTests(_WithServer):
    def run_all(self, operations: Sequence[Operation]) -> tuple[Pings, float]:
        """Run a few of each at once, and ping meanwhile: the pings, and the longest stall in seconds."""
        before = Stalls.read(self.site)
        with self.peers.frozen(*(one.peer for one in operations if one.peer)), Pings(self.site.port, 50) as pings:
            finishing = [one.begin(self.site, min(AT_ONCE, one.count)) for one in operations]
            problems = [problem for finish in finishing for problem in finish().problems]
        self.assertEqual(problems, [])
        return pings, Stalls.read(self.site).longest_since(before)

    def check(self, operations: Sequence[Operation]) -> None:
        """Pings are answered, and the reactor is not held up."""
        pings, longest = self.run_all(operations)
        held = [line for line in self.broker.log().splitlines() if 'held the reactor' in line and 'stall' not in line]
        self.assertGreater(len(pings.times), 20, held)
        self.assertLess(pings.p99, BOUND * 1000, held)
        self.assertLessEqual(longest, BOUND, held)

    def test_operations_that_take_long(self) -> None:
        """Every row of the table at once."""
        self.check(LIVE)

    def test_frozen_peers(self) -> None:
        """Calls of every kind whose peer is frozen, at once; each ends in Timeout."""
        self.check([one for one in OPERATIONS if one.peer])

    def test_what_blocks_is_noticed(self) -> None:
        """The same measurement of a service that holds the reactor: the pings wait, and the histogram has the stall."""
        pings, longest = self.run_all([STALL])
        self.assertGreater(max(pings.times), SECONDS * 1000 * 0.9)
        self.assertGreater(longest, BOUND)


class FrozenPeerTests(_WithServer):
    """A frozen peer ends each call with a typed error in time, and no other connection is affected."""

    def call(self, name: str) -> Any:
        """What a service reports of its call."""
        return self.broker.ask('GET', path(name)).json()

    def is_in_time(self, peer: FrozenPeer) -> bool:
        """Whether a call ends within its timeout + 10 %, by the service's clock."""
        reported = self.call(f'frozen.{peer.name}')
        self.assertIn(reported['error'], peer.errors, reported)
        self.assertTrue(reported['message'].startswith(peer.title), reported)
        return bool(reported['seconds'] <= SECONDS * 1.1)

    def check(self, peer: FrozenPeer) -> None:
        """The promise of one kind."""
        until(lambda: self.call(f'frozen.{peer.name}')['error'] == '', 'the connection')
        with self.peers.frozen(peer.peer):
            others = [one for one in FROZEN if one.has_other or one.peer != peer.peer]
            for one in others:
                name = f'other.{one.name}' if one.has_other else f'frozen.{one.name}'
                began = time.monotonic()
                self.assertEqual(self.call(name)['error'], '', name)
                self.assertLess(time.monotonic() - began, BOUND, name)
            self.assertTrue(any(self.is_in_time(peer) for _ in range(ATTEMPTS)), f'{peer.name}: more than 10 % late')
        until(lambda: self.call(f'frozen.{peer.name}')['error'] == '', 'recovery')

    def test_every_kind_is_in_the_table(self) -> None:
        """Each object type that services call has an entry in FROZEN: a new one needs it."""
        called = {
            one.key
            for one in object_types_of_kinds(find_kinds())
            if one.zato is not None and 'ping' in one.zato.actions
        }
        self.assertEqual({one.object_type for one in FROZEN if one.object_type}, called)


for _peer in FROZEN:
    def _test(self: FrozenPeerTests, peer: FrozenPeer = _peer) -> None:
        self.check(peer)

    _test.__doc__ = f'A frozen peer of {_peer.name}.'
    setattr(FrozenPeerTests, f'test_{_peer.name}', _test)
