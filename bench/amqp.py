"""Benchmarks of AMQP: messages from a queue to a service, and confirmed messages, relative to bare pika."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import msgspec

from bench import load
from bench.figures import Row
from bench.machine import SERVER_CORE, pinned
from bench.peers.amqp_messages import BODY, IN_FLIGHT, PREFETCH, WARM
from trial_tests.support.rabbitmq import RabbitMQ

COUNT = 20_000
_BAR = 0.7
_SUBJECTS = (
    ('consume', f'1 KB from a queue to a service, acknowledged, prefetch of {PREFETCH}: relative to pika on Twisted'),
    ('publish', f'1 KB persistent, confirmed, {IN_FLIGHT} in flight: relative to pika on Twisted'),
)


def measure(rounds: int, say: Callable[[str], None], count: int = COUNT) -> list[Row]:
    """Measure all rows, on a RabbitMQ of their own."""
    broker = RabbitMQ()
    try:
        broker.start()
        return [_row(broker, what, title, rounds, count, say) for what, title in _SUBJECTS]
    finally:
        broker.close()


def _row(broker: RabbitMQ, what: str, title: str, rounds: int, count: int, say: Callable[[str], None]) -> Row:
    found: dict[str, list[float]] = {'zatotx': [], 'pika': []}
    for _ in range(rounds):  # in turns, so that a slower machine affects both alike
        for who, measured in found.items():
            measured.append(_rate(broker, who, what, count))
    # the best round of each: whatever else the machine does only makes it slower
    rates = {who: max(measured) for who, measured in found.items()}
    say(f'  {what}: ' + ', '.join(f'{who} {rate:,.0f}/s' for who, rate in rates.items()))
    return Row(what=f'AMQP: {title}', figure=f'{rates["zatotx"]:,.0f}/s : {rates["pika"]:,.0f}/s',
               value=rates['zatotx'] / rates['pika'], bar=_BAR, at_least=True, unit=' x')  # fmt: skip


def _rate(broker: RabbitMQ, who: str, what: str, count: int) -> float:
    messages = [BODY] * (count + WARM) if what == 'consume' else []
    queue = broker.queue()
    with broker.channel() as channel:  # without confirmations, which would take a minute
        for message in messages:
            channel.basic_publish('', queue, message)
    command = [sys.executable, '-m', 'bench.peers.amqp_messages', who, what, str(broker.port), queue, str(count)]
    done = subprocess.run(pinned(SERVER_CORE, command), capture_output=True, check=False, timeout=600)
    broker.delete(queue)
    if done.returncode or not done.stdout:
        raise load.LoadError(f'{who} failed: {(done.stderr or done.stdout).decode().strip()[-500:]}')
    rate: float = msgspec.json.decode(done.stdout)['rate']
    return rate
