"""Kills a connector at each step of an AMQP message, again and again, and counts what was lost and what came twice.

`python -m trial_tests.support.amqp_kill_points` does so TIMES (20) at each step, or as often as LIMIT (seconds, 1800)
allows, and prints a table; `make chaos` calls it. Every message must arrive at the other queue, or be a dead letter
where its service fails. It may arrive twice, where the broker delivered it again.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
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
TIMES, LIMIT = 20, 1800.0
SETTLED = 60.0  # seconds in which a connector must process what is left
SERVICES = '''
from zatotx import Service

class Onward(Service):
    """ Sends each message on; some fail. """
    name = 'kills.onward'

    async def handle(self):
        if self.request.raw_request.startswith(b'bad'):
            raise RuntimeError('a bad message')
        headers = {'redelivered': self.request.headers['x-amqp-redelivered']}
        await self.out.amqp['kills.out'].send(self.request.raw_request, headers=headers)
'''


@define
class StepReport:
    """What happened to the messages of one step."""

    step: str
    kills: int = 0
    sent: int = 0
    lost: list[str] = field(factory=list)  # that neither arrived nor became dead letters
    repeated: int = 0  # further copies of messages that arrived more than once
    unexplained: list[str] = field(factory=list)  # of which more than one copy was no redelivery
    reported: int = 0  # dead letters
    excess: int = 0  # dead letters beyond the messages whose service fails

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        numbers = (self.kills, self.sent, len(self.lost), self.repeated, len(self.unexplained), self.reported,
                   self.excess)  # fmt: skip
        return self.step, *map(str, numbers)


@define
class KillReport:
    """What happened."""

    seed: int
    steps: list[StepReport] = field(factory=list)
    seconds: float = 0.0

    @property
    def problems(self) -> list[str]:
        """A sentence for each step that lost or repeated messages without a reason."""
        found = []
        for row in self.steps:
            found += [f'{row.step}: lost {name}' for name in row.lost]
            found += [f'{row.step}: {name} came twice, not redelivered' for name in row.unexplained]
            found += [f'{row.step}: {row.excess} dead letters too many'] * bool(row.excess)
        return found

    def __str__(self) -> str:
        heads = ('step', 'kills', 'messages', 'lost', 'repeated', 'of them not redelivered', 'reported',
                 'reported twice')  # fmt: skip
        lines = [heads, ('---',) * len(heads), *(row.cells() for row in self.steps)]
        table = '\n'.join('| ' + ' | '.join(cells) + ' |' for cells in lines)
        return '\n'.join([f'seed {self.seed}, {self.seconds:.0f} s', '', table, *self.problems])


@define
class KillPoints:
    """One run in an environment, whose connector does not run before and after it."""

    environment: Broker
    broker: RabbitMQ
    connector: Connector
    seed: int
    _random: Random = field(init=False)

    def run(self, times: int, limit: float = inf) -> KillReport:
        """Kill so many times at each step. After `limit` seconds it is not killed again."""
        began = time.monotonic()
        report = KillReport(self.seed)
        self._random = Random(self.seed)
        self._prepare()
        for number, step in enumerate(STEPS, 1):
            report.steps.append(self._run_step(step, times, began + limit * number / len(STEPS)))
        self.environment.invoke('zato.channel.amqp.delete', b'{"name": "kills.in"}')
        report.seconds = time.monotonic() - began
        return report

    def _prepare(self) -> None:
        for queue in (SOURCE, TARGET):
            self.broker.queue(name=queue, type='quorum', arguments={'x-delivery-limit': -1})
        self.environment.serve('kill_services.py', SERVICES)
        self.environment.configure(json.dumps({
            'definition_amqp': [{'name': 'kills', **definition_of(self.broker)}],
            'channel_amqp': [{'name': 'kills.in', 'definition': 'kills', 'queue': SOURCE, 'service': 'kills.onward',
                              'prefetch': 4, 'on_error': 'dead_letter', 'nodes': [self.connector.path.name],
                              'max_deliveries': 0}],
            'outgoing_amqp': [{'name': 'kills.out', 'definition': 'kills', 'routing_key': TARGET}],
        }))  # fmt: skip

    def _run_step(self, step: str, times: int, end: float) -> StepReport:
        report, sent = StepReport(step), set[str]()
        for _ in range(times):
            if time.monotonic() > end:
                break
            for name in self._publish(step, len(sent)):
                sent.add(name)
            report.kills += self._kill_at(step)
        self.connector.start()
        with suppress(AssertionError):  # the report says what is missing
            until(self._is_settled, 'the end', SETTLED)
        self.connector.stop()
        self._count(report, sent)
        return report

    def _publish(self, step: str, first: int) -> Iterator[str]:
        for number in range(first, first + BATCH):
            name = f'{"bad" if self._random.random() < 0.4 else "good"}-{step}-{number}'
            self.broker.publish(SOURCE, name.encode(), message_id=name)
            yield name

    def _kill_at(self, step: str) -> bool:
        """Run the connector until it kills itself at the step: whether it did."""
        path = os.pathsep.join(filter(None, (str(FOLDER), os.environ.get('PYTHONPATH'))))
        self.connector.launch({'ZATOTX_KILL_AT': f'{step}:{self._random.randint(1, 3)}', 'PYTHONPATH': path})
        try:
            return self.connector.wait() == -signal.SIGKILL
        except subprocess.TimeoutExpired:  # a busy machine
            self.connector.kill()
            return False

    def _is_settled(self) -> bool:
        """Whether nothing waits in the queue, and the channel has nothing under way."""
        if self.broker.count(SOURCE):
            return False
        text = self.connector.ask('/zato/metrics').body.decode()
        lines = [line for line in text.splitlines() if line.startswith('zatotx_amqp_in_flight_messages')]
        return bool(lines) and all(line.endswith(' 0.0') for line in lines)

    def _count(self, report: StepReport, sent: set[str]) -> None:
        copies: dict[str, list[str]] = defaultdict(list)  # of each message, whether it was a redelivery
        while (taken := self.broker.take(TARGET)) is not None:
            properties, body = taken
            copies[body.decode()].append(properties.headers['redelivered'])
        bad = sum(name.startswith('bad') for name in sent)
        letters = self._take_letters()
        report.sent, report.reported = len(sent), letters
        report.lost = sorted(name for name in sent if name.startswith('good') and name not in copies)
        report.lost += ['a message whose service fails'] * max(0, bad - letters)
        report.excess = max(0, letters - bad)
        report.repeated = sum(len(found) - 1 for found in copies.values())
        report.unexplained = sorted(name for name, found in copies.items() if found.count('false') > 1)

    def _take_letters(self) -> int:
        """Purge the dead letters of the service: how many there were."""
        path = str(self.environment.path)
        found = json.loads(self.environment.must('dead-letter', 'list', path, '--limit', '10000', '--format', 'json'))
        ids = [letter['id'] for letter in found if letter['service'] == 'kills.onward']
        if ids:
            self.environment.must('dead-letter', 'purge', path, *ids)
        return len(ids)


def run(seed: int, times: int, limit: float = inf) -> KillReport:
    """Kill so many times at each step, in an environment of its own."""
    broker, environment = RabbitMQ(), create()
    connector: Connector | None = None
    try:
        broker.start()
        environment.start()
        connector = Connector(environment)
        return KillPoints(environment, broker, connector, seed).run(times, limit)
    finally:
        if connector is not None:
            connector.kill()
        remove(environment)
        broker.close()


def main() -> int:
    """Run with the numbers in the environment."""
    seed = int(os.environ.get('SEED') or secrets.randbelow(1_000_000))
    print(f'AMQP, kills at each step: seed {seed}', flush=True)
    report = run(seed, int(os.environ.get('TIMES') or TIMES), float(os.environ.get('LIMIT') or LIMIT))
    print(report)
    return 1 if report.problems else 0


if __name__ == '__main__':
    sys.exit(main())
