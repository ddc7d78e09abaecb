"""Kills a connector at each step of an AMQP message, again and again, and counts what was lost.

`python -m trial_tests.support.amqp_kill_points` does so TIMES (20) at each step, or as often as LIMIT (seconds) allows;
`make chaos` calls it. Every message must arrive at the other queue, or be a dead letter where its service fails.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import suppress
from math import inf
from pathlib import Path
from random import Random

from attrs import define, field

from trial_tests.support.broker import Broker, create, remove
from trial_tests.support.connectors import Connector
from trial_tests.support.kill_points.sitecustomize import STEPS
from trial_tests.support.rabbitmq import RabbitMQ
from trial_tests.support.rabbitmq import definition as definition_of
from trial_tests.support.waiting import until

FOLDER = Path(__file__).parent / 'kill_points'
SOURCE, TARGET = 'kills.in', 'kills.out'
BATCH = 12  # messages between two kills
SERVICES = '''
from zatotx import Service

class Onward(Service):
    """ Sends each message on; some fail. """
    name = 'kills.onward'

    async def handle(self):
        if self.request.raw_request.startswith(b'bad'):
            raise RuntimeError('a bad message')
        await self.out.amqp['kills.out'].send(self.request.raw_request)
'''


@define
class KillReport:
    """What happened."""

    seed: int
    kills: dict[str, int] = field(factory=dict)  # by step
    sent: int = 0
    lost: list[str] = field(factory=list)

    def __str__(self) -> str:
        kills = ', '.join(f'{count} x {step}' for step, count in self.kills.items())
        return f'seed {self.seed}: {self.sent} messages, {len(self.lost)} lost; killed when {kills}'


def run(seed: int, times: int, limit: float = inf) -> KillReport:
    """Kill so many times at each step, in an environment of its own."""
    broker, environment = RabbitMQ(), create()
    connector: Connector | None = None
    try:
        broker.start()
        environment.start()
        connector = Connector(environment)
        return run_on(environment, broker, connector, seed=seed, times=times, limit=limit)
    finally:
        if connector is not None:
            connector.kill()
        remove(environment)
        broker.close()


def run_on(environment: Broker, broker: RabbitMQ, connector: Connector, *, seed: int, times: int,
           limit: float = inf) -> KillReport:  # fmt: skip
    """Kill a connector, which does not run, of an environment; it does not run afterwards either. `limit`: seconds
    after which it is not killed again."""
    random, report = Random(seed), KillReport(seed)
    for queue in (SOURCE, TARGET):
        broker.queue(name=queue, type='quorum', arguments={'x-delivery-limit': -1})
    environment.serve('kill_services.py', SERVICES)
    environment.configure(json.dumps({
        'definition_amqp': [{'name': 'kills', **definition_of(broker)}],
        'channel_amqp': [{'name': 'kills.in', 'definition': 'kills', 'queue': SOURCE, 'service': 'kills.onward',
                          'prefetch': 4, 'on_error': 'dead_letter', 'nodes': [connector.path.name],
                          'max_deliveries': 0}],
        'outgoing_amqp': [{'name': 'kills.out', 'definition': 'kills', 'routing_key': TARGET}],
    }))  # fmt: skip
    path = os.pathsep.join(filter(None, (str(FOLDER), os.environ.get('PYTHONPATH'))))
    sent: set[str] = set()
    steps = [step for step in STEPS for _ in range(times)]
    random.shuffle(steps)
    end = time.monotonic() + limit
    for step in steps:
        if time.monotonic() > end:
            break
        for _ in range(BATCH):
            name = f'{"bad" if random.random() < 0.4 else "good"}-{len(sent)}'
            broker.publish(SOURCE, name.encode(), message_id=name)
            sent.add(name)
        connector.launch({'ZATOTX_KILL_AT': f'{step}:{random.randint(1, 3)}', 'PYTHONPATH': path})
        try:
            report.kills[step] = report.kills.get(step, 0) + (connector.wait() == -signal.SIGKILL)
        except subprocess.TimeoutExpired:  # a busy machine
            connector.kill()
    connector.start()
    with suppress(AssertionError):  # the report says what is missing
        until(lambda: broker.count(SOURCE) == 0 and not connector_in_flight(connector), 'the end', 60)
    connector.stop()
    arrived = {body.decode() for body in broker.take_all(TARGET)}
    letters = json.loads(environment.must('dead-letter', 'list', str(environment.path), '--format', 'json'))
    dead = [letter for letter in letters if letter['service'] == 'kills.onward']
    report.sent = len(sent)
    report.lost = sorted(name for name in sent if name.startswith('good') and name not in arrived)
    report.lost += [f'{sum(name.startswith("bad") for name in sent)} bad messages, {len(dead)} dead letters'
                    ] * (len(dead) != sum(name.startswith('bad') for name in sent))  # fmt: skip
    environment.must('dead-letter', 'purge', str(environment.path), *[letter['id'] for letter in dead])
    environment.invoke('zato.channel.amqp.delete', b'{"name": "kills.in"}')
    return report


def connector_in_flight(connector: Connector) -> bool:
    """Whether its channel has messages that are not settled."""
    text = connector.ask('/zato/metrics').body.decode()
    lines = [line for line in text.splitlines() if line.startswith('zatotx_amqp_in_flight_messages')]
    return not lines or any(not line.endswith(' 0.0') for line in lines)


def main() -> int:
    """Run with the numbers in the environment."""
    seed = int(os.environ.get('SEED') or secrets.randbelow(1_000_000))
    print(f'AMQP, kills at each step: seed {seed}', flush=True)
    report = run(seed, int(os.environ.get('TIMES') or 20), float(os.environ.get('LIMIT') or inf))
    print(report)
    return 1 if report.lost else 0


if __name__ == '__main__':
    sys.exit(main())
