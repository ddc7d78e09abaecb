"""Kills and freezes the queue manager, and kills connectors, at random moments and at each step of a message, while
messages go from one queue through a service to another one; counts what was lost.

`python -m trial_tests.support.ibm_mq_chaos` runs MESSAGES (10,000) with KILLS (10) of each sort from SEED, which it
prints; `make chaos` calls it.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from attrs import define, field

from trial_tests.support import mqi_loopback
from trial_tests.support.broker import Broker, create, remove
from trial_tests.support.connectors import Connector
from trial_tests.support.waiting import until

IN, OUT = 'CHAOS.IN', 'CHAOS.OUT'
CONSUMERS = 3  # of each connector
STEPS = ('MQGET', 'MQPUT', 'MQCMIT')
DELAY = 5.0  # seconds, in which connectors are killed
LIMIT = 900.0  # seconds until what has not come counts as lost
SERVICES = '''
import json
from twisted.internet.task import deferLater
from zatotx import Service


class Forward(Service):
    """ Sends each message on, after a moment. """
    name = 'chaos.mq.forward'

    async def handle(self):
        from twisted.internet import reactor
        await deferLater(reactor, 0.02)
        number = self.request.raw_request.decode()
        count = self.request.headers['JMSXDeliveryCount']
        await self.out.ibm_mq['chaos.out'].send(f'{number} {count}')
'''


@define
class MqChaosReport:
    """What happened. `unexplained`: messages that were sent on twice though none of them was a redelivery."""

    seed: int
    messages: int
    events: list[str] = field(factory=list)
    lost: list[int] = field(factory=list)
    repeated: int = 0
    unexplained: list[int] = field(factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        counts = ', '.join(f'{self.events.count(name)} x {name}' for name in sorted(set(self.events)))
        return (f'seed {self.seed}: {self.messages:,} messages, {len(self.lost)} lost, {self.repeated} repeated, '
                f'{len(self.unexplained)} of them unexplained; {counts}; {self.seconds:.0f} s')


@define
class MqChaos:
    """One run. `environment`: runs, with connectors of its own; its queue manager may be killed."""

    seed: int
    messages: int
    kills: int  # of each sort
    environment: Broker
    connectors: Sequence[Connector]
    qmgr: mqi_loopback.LoopbackQueueManager
    steps: Sequence[str] = STEPS  # calls at which all connectors are killed

    def run(self) -> MqChaosReport:
        """Run until all messages are through, or for LIMIT seconds."""
        report = MqChaosReport(self.seed, self.messages)
        began = time.monotonic()
        self._prepare()
        random = Random(self.seed)
        events: list[Callable[[Random], str]] = [
            self._restart, self._freeze, self._kill_connector, *(partial(self._kill_at, call) for call in self.steps),
        ] * self.kills  # fmt: skip
        random.shuffle(events)
        step = self.messages // (len(events) + 1)
        for position, event in enumerate(events):
            self._wait(self.messages - step * position - random.randrange(step), began)
            report.events.append(event(random))
        self._wait(0, began)
        self._count(report)
        report.seconds = time.monotonic() - began
        return report

    def _prepare(self) -> None:
        self.qmgr.define(IN, backout_threshold=1000)
        self.qmgr.define(OUT)
        for number in range(self.messages):
            self.qmgr.put(b'%d' % number, IN)
        self.environment.serve('chaos_mq_services.py', SERVICES)
        self.environment.configure(json.dumps({
            'definition_ibm_mq': [{'name': 'chaos', 'host': '127.0.0.1', 'port': self.qmgr.port,
                                   'channel': mqi_loopback.CHANNEL, 'username': mqi_loopback.USER,
                                   'password': mqi_loopback.PASSWORD}],
            'outgoing_ibm_mq': [{'name': 'chaos.out', 'definition': 'chaos', 'queue': OUT, 'timeout': 5}],
            'channel_ibm_mq': [{'name': 'chaos.in', 'definition': 'chaos', 'queue': IN, 'service': 'chaos.mq.forward',
                                'consumers': CONSUMERS}],
        }))  # fmt: skip

    def _wait(self, depth: int, began: float) -> None:
        """Wait until no more than so many messages are left."""
        while self.qmgr.depth(IN) > depth and time.monotonic() - began < LIMIT:
            time.sleep(0.02)

    def _restart(self, random: Random) -> str:
        self.qmgr.kill()
        time.sleep(random.uniform(0, 1))
        self.qmgr.start()
        return 'queue manager killed'

    def _freeze(self, random: Random) -> str:
        self.qmgr.freeze()
        time.sleep(random.uniform(0.5, 3))
        self.qmgr.thaw()
        return 'queue manager frozen'

    def _kill_connector(self, random: Random) -> str:
        connector = random.choice(self.connectors)
        connector.kill()
        connector.start()
        return 'connector killed'

    def _kill_at(self, call: str, random: Random) -> str:
        """Kill all connectors while the queue manager has one of their calls and has not carried it out."""
        self.qmgr.control('delay', call=call, seconds=DELAY)
        until(lambda: self.qmgr.control('state')['delayed'] or not self.qmgr.depth(IN), f'a call of {call}')
        for connector in self.connectors:
            connector.kill()
        for connector in self.connectors:
            connector.start()
        return f'connectors killed at {call}'

    def _count(self, report: MqChaosReport) -> None:
        counts: dict[int, list[int]] = defaultdict(list)
        for data in self.qmgr.browse(OUT):
            number, _, count = data.rpartition(b'>')[2].strip().partition(b' ')
            counts[int(number)].append(int(count))
        report.lost = [number for number in range(self.messages) if number not in counts]
        repeated = {number: found for number, found in counts.items() if len(found) > 1}
        report.repeated = sum(len(found) - 1 for found in repeated.values())
        report.unexplained = [number for number, found in repeated.items() if max(found) == 1]


def main() -> int:
    """Run what the environment variables say; return 1 if a message was lost."""
    seed = int(os.environ.get('SEED') or secrets.randbelow(1_000_000))
    print(f'SEED={seed}', flush=True)
    qmgr = mqi_loopback.LoopbackQueueManager()
    broker = create()
    connectors: list[Connector] = []
    try:
        qmgr.start()
        broker.start()
        connectors += [Connector(broker, number).start() for number in (1, 2)]
        report = MqChaos(seed, int(os.environ.get('MESSAGES') or 10_000), int(os.environ.get('KILLS') or 10), broker,
                         connectors, qmgr).run()  # fmt: skip
    finally:
        for connector in connectors:
            connector.kill()
        remove(broker)
        qmgr.close()
    print(report)
    return bool(report.lost or report.unexplained)


if __name__ == '__main__':
    sys.exit(main())
