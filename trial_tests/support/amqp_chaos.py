"""Kills connectors and the broker, and freezes both, while messages go from one queue through a service to another one.

`python -m trial_tests.support.amqp_chaos` sends MESSAGES (20,000) at 200/s from SEED, which it prints; `make chaos`
calls it. A message counts as sent when the broker has confirmed it; it must then arrive at the other queue. It may
arrive twice where the broker delivered it again, or where the service could not know whether it was sent.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from threading import Thread

import pika
from attrs import define, field
from pika.exceptions import AMQPError

from trial_tests.support.broker import Broker, create, remove
from trial_tests.support.connectors import Connector
from trial_tests.support.rabbitmq import RabbitMQ
from trial_tests.support.rabbitmq import definition as definition_of
from trial_tests.support.waiting import until

RATE = 200.0  # messages per second
SENDERS = 8  # connections that send: each waits for the confirmation of its message
SOURCE, TARGET = 'chaos.in', 'chaos.out'
SETTLED = 120.0  # seconds until everything must have arrived
FREEZE = 4.0  # seconds: longer than the heartbeat
SERVICES = '''
from twisted.internet.task import deferLater
from zatotx import DeliveryUnknown, NotSent, Service

class Onward(Service):
    """ Sends each message on, until it is confirmed. """
    name = 'chaos.onward'

    async def handle(self):
        from twisted.internet import reactor
        headers = {'redelivered': self.request.headers['x-amqp-redelivered'], 'unknown': 'false'}
        while True:
            try:
                await self.out.amqp['chaos.out'].send(self.request.raw_request, headers=headers)
                return
            except DeliveryUnknown:
                headers['unknown'] = 'true'
            except NotSent:
                pass
            await deferLater(reactor, 0.2, lambda: None)
'''


@define
class ChaosReport:
    """What happened."""

    seed: int
    sent: int = 0
    arrived: int = 0
    lost: list[int] = field(factory=list)
    repeated: int = 0
    unexplained: list[int] = field(factory=list)  # arrived twice though neither broker nor service repeated them
    dead: int = 0
    events: Counter[str] = field(factory=Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        events = ', '.join(f'{count} x {name}' for name, count in sorted(self.events.items()))
        return (f'seed {self.seed}: {self.sent:,} messages sent, {self.arrived:,} arrived, {self.repeated} repeated, '
                f'{len(self.unexplained)} of them unexplained, {self.dead} dead letters, {len(self.lost)} lost; '
                f'{events}; {self.seconds:.0f} s')  # fmt: skip


class AmqpChaos:
    """One run. `broker_events` and `connector_events`: how often each is killed or frozen."""

    def __init__(self, seed: int, *, messages: int, broker_events: int, connector_events: int) -> None:
        self.report = ChaosReport(seed)
        self._random = Random(seed)
        self._messages = messages
        self._plan: list[Callable[[], str]] = [*[self._hit_broker] * broker_events,
                                               *[self._hit_connector] * connector_events]  # fmt: skip
        self._random.shuffle(self._plan)
        self._confirmed: set[int] = set()

    def run(self) -> ChaosReport:
        """Run it in an environment of its own."""
        broker, environment = RabbitMQ(), create()
        connectors: list[Connector] = []
        try:
            broker.start()
            environment.start()
            connectors = [Connector(environment, number).start() for number in (1, 2)]
            return self.run_on(environment, broker, connectors)
        finally:
            for connector in connectors:
                connector.kill()
            remove(environment)
            broker.close()

    def run_on(self, environment: Broker, broker: RabbitMQ, connectors: Sequence[Connector]) -> ChaosReport:
        """Run it in an environment whose connectors run."""
        began = time.monotonic()
        self._broker, self._connectors = broker, connectors
        self._prepare(environment)
        self._run()
        self._count(environment)
        environment.invoke('zato.channel.amqp.delete', b'{"name": "chaos.in"}')
        self.report.seconds = time.monotonic() - began
        return self.report

    def _prepare(self, environment: Broker) -> None:
        for queue in (SOURCE, TARGET):
            self._broker.queue(name=queue, type='quorum', arguments={'x-delivery-limit': -1})
        environment.serve('chaos_services.py', SERVICES)
        environment.configure(json.dumps({
            'definition_amqp': [{'name': 'chaos', 'heartbeat': 2, **definition_of(self._broker)}],
            'channel_amqp': [{'name': 'chaos.in', 'definition': 'chaos', 'queue': SOURCE, 'service': 'chaos.onward',
                              'prefetch': 50, 'timeout': 60, 'max_deliveries': 0,
                              'nodes': [connector.path.name for connector in self._connectors]}],
            'outgoing_amqp': [{'name': 'chaos.out', 'definition': 'chaos', 'routing_key': TARGET, 'timeout': 3}],
        }))  # fmt: skip
        until(lambda: self._broker.consumers(SOURCE) == 2, 'the consumers')

    def _run(self) -> None:
        sending = [Thread(target=self._send_some, args=(first,)) for first in range(SENDERS)]
        for each in sending:
            each.start()
        pause = self._messages / RATE / (len(self._plan) + 1)
        for hit in self._plan:
            time.sleep(pause * self._random.uniform(0.5, 1.5))
            self.report.events[hit()] += 1
        for each in sending:
            each.join()

    def _hit_broker(self) -> str:
        if self._random.random() < 0.5:
            self._broker.kill()
            time.sleep(self._random.random())
            self._broker.start()
            return 'broker killed'
        self._broker.freeze()
        time.sleep(FREEZE * self._random.uniform(0.2, 1.0))
        self._broker.thaw()
        return 'broker frozen'

    def _hit_connector(self) -> str:
        connector = self._random.choice(self._connectors)
        if self._random.random() < 0.8:
            connector.kill()
            connector.start()
            return 'connector killed'
        connector.send_signal(signal.SIGSTOP)
        time.sleep(FREEZE * self._random.uniform(0.2, 1.0))
        connector.send_signal(signal.SIGCONT)
        return 'connector frozen'

    def _send_some(self, number: int) -> None:
        """Send every message of SENDERS at RATE, each until it is confirmed: with the number of the attempt, as a
        message that was sent twice is two messages."""
        began, attempt = time.monotonic(), 0
        while number < self._messages:
            with suppress(AMQPError, OSError), self._broker.channel() as channel:
                channel.confirm_delivery()
                while number < self._messages:
                    wait = began + number / RATE - time.monotonic()
                    if wait > 0:
                        time.sleep(wait)
                    attempt += 1
                    channel.basic_publish('', SOURCE, f'{number}:{attempt}'.encode(),
                                          pika.BasicProperties(delivery_mode=2), mandatory=True)  # fmt: skip
                    self._confirmed.add(number)
                    number += SENDERS
            time.sleep(0.05)

    def _count(self, environment: Broker) -> None:
        copies: dict[str, list[tuple[str, str]]] = defaultdict(list)

        def read() -> None:
            with self._broker.channel() as channel:
                while True:
                    method, properties, body = channel.basic_get(TARGET)
                    if method is None:
                        return
                    copy = properties.headers['redelivered'], properties.headers['unknown']
                    if not (method.redelivered and copy in copies[body.decode()]):  # of an attempt that was cut off
                        copies[body.decode()].append(copy)
                    channel.basic_ack(method.delivery_tag)

        def arrived() -> bool:
            try:
                read()
                is_empty = self._broker.count(SOURCE) == 0
            except AMQPError:  # the queues take a moment after a restart
                return False
            return is_empty and {int(key.split(':')[0]) for key in copies} >= self._confirmed

        with suppress(AssertionError):  # the report says what is missing
            until(arrived, 'the messages', SETTLED)
        time.sleep(1.0)
        arrived()
        report = self.report
        numbers = {int(key.split(':')[0]) for key in copies}
        report.sent, report.arrived = len(self._confirmed), len(numbers)
        report.lost = sorted(self._confirmed - numbers)
        report.repeated = sum(len(found) - 1 for found in copies.values())
        for key, found in copies.items():
            if sum(flags == ('false', 'false') for flags in found) > 1:
                report.unexplained.append(int(key.split(':')[0]))
        letters = json.loads(environment.must('dead-letter', 'list', str(environment.path), '--limit', '10000',
                                          '--format', 'json'))
        report.dead = sum(letter['service'] == 'chaos.onward' for letter in letters)


def main() -> int:
    """Run with the numbers in the environment."""
    seed = int(os.environ.get('SEED') or secrets.randbelow(1_000_000))
    print(f'AMQP: seed {seed}', flush=True)
    report = AmqpChaos(seed, messages=int(os.environ.get('MESSAGES') or 20_000),
                       broker_events=int(os.environ.get('KILLS') or 20) // 2,
                       connector_events=int(os.environ.get('KILLS') or 20) // 2).run()  # fmt: skip
    print(report)
    return 1 if report.lost or report.unexplained or report.dead else 0


if __name__ == '__main__':
    sys.exit(main())
