"""Kills a connector at each step of an AMQP message, again and again, and counts what was lost and what came twice.

`python -m trial_tests.support.amqp_kill_points` does so TIMES (20) at each step, or as often as LIMIT (seconds, 1800)
allows, and prints a table; `make chaos` calls it. Every message must arrive at the other queue, or be a dead letter
where its service fails. It may arrive twice where the broker delivered it again.
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
from collections.abc import Callable
from contextlib import suppress
from functools import partial
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
from zatotx.connectors.inbound_delivery_policy import dead_letter_id
from zatotx.interfaces.inbound_delivery import DeadLetter
from zatotx.model.message import ChannelSpec, Message
from zatotx.rules.resilience.inbound_retry import DeliveryHistory

FOLDER = Path(__file__).parent / 'kill_points'
SOURCE, TARGET = 'kills.in', 'kills.out'
BATCH = 12  # messages between two kills
TIMES, LIMIT = 20, 1800.0
SPARE = 3  # further attempts at a step: a slow machine may not come to it in time
SETTLED = 60.0  # seconds in which a connector must process what is left
SERVICES = '''
from zatotx import Service

class Onward(Service):
    """ Sends each message on; some fail. """
    name = 'kills.onward'

    async def handle(self):
        if self.request.raw_request.endswith(b'bad'):
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
    reported: int = 0  # dead letters, which there are of the messages whose service fails

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        numbers = self.kills, self.sent, len(self.lost), self.repeated, len(self.unexplained), self.reported
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
        return found

    def __str__(self) -> str:
        heads = 'step', 'kills', 'messages', 'lost', 'repeated', 'of them not redelivered', 'dead letters'
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
    say: Callable[[str], object] = str  # gets a line after each step
    _random: Random = field(init=False)
    _sent: list[str] = field(factory=list, init=False)

    def run(self, times: int, limit: float = inf) -> KillReport:
        """Kill so many times at each step. After `limit` seconds it is not killed again."""
        began = time.monotonic()
        report = KillReport(self.seed)
        self._random = Random(self.seed)
        self._prepare()
        for number, step in enumerate(STEPS, 1):
            row = StepReport(step)
            end = began + limit * number / len(STEPS)
            for _ in range(times + SPARE):
                if row.kills < times and time.monotonic() < end:
                    self._publish(row)
                    row.kills += self._kill_at(step)
            if times > 1:  # otherwise a message may come to its end with those of the next step
                self._settle()
            report.steps.append(row)
            self.say(f'{row.step}: {row.kills} kills, {time.monotonic() - began:.0f} s')
        self._settle()
        self._count(report)
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

    def _settle(self) -> None:
        """Run the connector until nothing is left."""
        self.connector.start()
        with suppress(AssertionError):  # the report says what is missing
            until(self._is_settled, 'the end', SETTLED)
        self.connector.stop()

    def _publish(self, row: StepReport) -> None:
        for _ in range(BATCH):
            row.sent += 1
            name = f'{row.step}:{row.sent}:{"bad" if row.sent % 5 in (1, 3) else "good"}'
            self.broker.publish(SOURCE, name.encode(), message_id=name)
            self._sent.append(name)

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

    def _count(self, report: KillReport) -> None:
        copies: dict[str, list[str]] = defaultdict(list)  # of each message, whether it was a redelivery
        while (taken := self.broker.take(TARGET)) is not None:
            properties, body = taken
            copies[body.decode()].append(properties.headers['redelivered'])
        letters = self._take_letters()
        rows = {row.step: row for row in report.steps}
        for name in self._sent:
            row = rows[name.partition(':')[0]]
            found = copies.get(name, [])
            is_reported = _letter_id(name) in letters
            row.reported += is_reported
            row.repeated += max(0, len(found) - 1)
            if not (is_reported if name.endswith('bad') else found):
                row.lost.append(name)
            if found.count('false') > 1:
                row.unexplained.append(name)

    def _take_letters(self) -> set[str]:
        """Purge the dead letters of the service: their ids."""
        path = str(self.environment.path)
        found = json.loads(self.environment.must('dead-letter', 'list', path, '--limit', '10000', '--format', 'json'))
        ids = {letter['id'] for letter in found if letter['service'] == 'kills.onward'}
        if ids:
            self.environment.must('dead-letter', 'purge', path, *sorted(ids))
        return ids


def _letter_id(message_id: str) -> str:
    """The id of the dead letter of a message."""
    channel = ChannelSpec(name='kills.in', kind='amqp', service='', timeout=0)
    message = Message('', channel, '', {}, b'', 0)
    return dead_letter_id(DeadLetter(message=message, history=DeliveryHistory(), id=message_id))


def run(seed: int, times: int, limit: float = inf) -> KillReport:
    """Kill so many times at each step, in an environment of its own."""
    broker, environment = RabbitMQ(), create()
    connector: Connector | None = None
    try:
        broker.start()
        environment.start()
        connector = Connector(environment)
        return KillPoints(environment, broker, connector, seed, partial(print, flush=True)).run(times, limit)
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
