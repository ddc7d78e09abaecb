"""Benchmarks of AMQP: messages from a queue to a service, and confirmed messages, relative to bare pika; and the memory
of a channel while a million messages wait."""

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
from trial_tests.support.waiting import until
from zatotx.plugins.amqp.wire import encode_properties, encode_publish, encode_publish_method

COUNT, WAITING = 20_000, 1_000_000
_BAR, _MEMORY_BAR = 0.7, 16.0
_BATCH = 1000  # messages that are written at once to fill a queue
_FRAME_MAX = 131_072
_SUBJECTS = (
    ('consume', f'1 KB from a queue to a service, acknowledged, prefetch of {PREFETCH}: relative to pika on Twisted'),
    ('publish', f'1 KB persistent, confirmed, {IN_FLIGHT} in flight: relative to pika on Twisted'),
)


def measure(rounds: int, say: Callable[[str], None], count: int = COUNT, waiting: int = WAITING) -> list[Row]:
    """Measure all rows, on a RabbitMQ of their own."""
    broker = RabbitMQ()
    try:
        broker.start()
        rows = [_row(broker, what, title, rounds, count, say) for what, title in _SUBJECTS]
        return [*rows, _memory(broker, count, waiting)]
    finally:
        broker.close()


def _memory(broker: RabbitMQ, count: int, waiting: int) -> Row:
    """The memory of a channel while messages wait, and while `count` of them are processed by services that wait."""
    queue = broker.queue()
    _fill(broker, queue, waiting)
    growth = _run(broker, 'zatotx', 'backlog', queue, min(count, waiting // 2))['growth']
    broker.delete(queue)
    return Row(what=f'AMQP channel, {waiting:,} messages waiting: growth of memory', value=growth, bar=_MEMORY_BAR,
               unit=' MiB', figure=f'{growth:.1f} MiB')  # fmt: skip


def _fill(broker: RabbitMQ, queue: str, count: int) -> None:
    """Publish small messages as fast as the broker takes them: their frames, encoded once, are written many at a
    time."""
    with broker.channel() as channel:
        connection = channel.connection
        frames = encode_publish(channel.channel_number, encode_publish_method('', queue, False), encode_properties({}),
                                b'x' * 100, _FRAME_MAX)  # fmt: skip
        for first in range(0, count, _BATCH):
            connection._impl._adapter_emit_data(frames * min(_BATCH, count - first))
            connection.process_data_events(0)
    until(lambda: broker.count(queue) >= count, 'the messages', 300.0)


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
    rate = _run(broker, who, what, queue, count)['rate']
    broker.delete(queue)
    return rate


def _run(broker: RabbitMQ, who: str, what: str, queue: str, count: int) -> dict[str, float]:
    command = [sys.executable, '-m', 'bench.peers.amqp_messages', who, what, str(broker.port), queue, str(count)]
    done = subprocess.run(pinned(SERVER_CORE, command), capture_output=True, check=False, timeout=600)
    if done.returncode or not done.stdout:
        raise load.LoadError(f'{who} failed: {(done.stderr or done.stdout).decode().strip()[-500:]}')
    return msgspec.json.decode(done.stdout, type=dict[str, float])
