"""Benchmarks of IBM MQ: CPU time of a connector for each message, above bare pymqi over the same loopback queue
manager, and its memory while a million messages wait."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.figures import Row
from bench.machine import SERVER_CORE, pinned
from trial_tests.support import mqi_loopback
from trial_tests.support.broker import Broker, create, remove
from trial_tests.support.connectors import Connector
from trial_tests.support.waiting import until

MESSAGES, WAITING, SIZE = 5000, 1_000_000, 1000
QUEUE = 'BENCH.IN'
_CPU_BAR, _MEMORY_BAR = 150.0, 16.0
_EDGE = 200  # messages at both ends that are not measured: starting and stopping
_TICKS = os.sysconf('SC_CLK_TCK')
_SERVICE = '''
from zatotx import Service


class Nothing(Service):
    name = 'bench.mq.nothing'

    async def handle(self):
        pass
'''


def measure(rounds: int, say: Callable[[str], None], messages: int = MESSAGES, waiting: int = WAITING) -> list[Row]:
    """Measure all rows, with a queue manager and an environment of their own."""
    mqi_loopback.install()
    qmgr = mqi_loopback.LoopbackQueueManager()
    broker = create()
    try:
        qmgr.start()
        qmgr.define(QUEUE)
        broker.start()
        broker.serve('bench_mq.py', _SERVICE)
        connector = Connector(broker).start()
        bare, channel = [], []
        for _ in range(rounds):  # in turns, so that a slower machine affects both alike
            bare.append(_bare(qmgr, messages))
            channel.append(_channel(broker, connector, qmgr, messages))
        growth = _memory(broker, connector, qmgr, waiting)
    finally:
        remove(broker)
        qmgr.close()
    above = min(channel) - min(bare)
    say(f'  CPU a message: bare pymqi {min(bare):.0f} µs, channel to service {min(channel):.0f} µs')
    return [
        Row(what='IBM MQ channel to service: CPU a message above bare pymqi', value=above, bar=_CPU_BAR, unit=' µs',
            figure=f'{min(channel):.0f} µs - {min(bare):.0f} µs'),
        Row(what=f'IBM MQ channel, {waiting:,} messages waiting: growth of memory', value=growth, bar=_MEMORY_BAR,
            unit=' MiB', figure=f'{growth:.1f} MiB'),
    ]  # fmt: skip


def _bare(qmgr: mqi_loopback.LoopbackQueueManager, messages: int) -> float:
    """CPU microseconds of pymqi alone for a message."""
    qmgr.fill(messages, b'x' * SIZE, QUEUE)
    command = [sys.executable, '-m', 'bench.peers.pymqi_get', str(qmgr.port), QUEUE, str(messages)]
    done = subprocess.run(pinned(SERVER_CORE, command), capture_output=True, check=True, timeout=600)
    return float(done.stdout)


def _channel(broker: Broker, connector: Connector, qmgr: mqi_loopback.LoopbackQueueManager, messages: int) -> float:
    """CPU microseconds of the connector for a message."""
    qmgr.fill(messages, b'x' * SIZE, QUEUE)
    _configure(broker, qmgr, is_active=True)
    until(lambda: qmgr.depth(QUEUE) < messages - _EDGE, 'the first messages')
    began, before = qmgr.depth(QUEUE), _cpu(connector)
    until(lambda: qmgr.depth(QUEUE) < _EDGE, 'the last messages')
    used, ended = _cpu(connector) - before, qmgr.depth(QUEUE)
    _configure(broker, qmgr, is_active=False)
    until(lambda: not qmgr.control('state')['queues'][QUEUE]['inputs'], 'the end of the consumer')
    return used / (began - ended) * 1e6


def _memory(broker: Broker, connector: Connector, qmgr: mqi_loopback.LoopbackQueueManager, waiting: int) -> float:
    """MiB by which the connector grows while so many messages wait, and some of them are processed."""
    before = _resident(connector)
    for _ in range(10):
        qmgr.fill(waiting // 10, b'x' * 100, QUEUE, persistence=0)
    _configure(broker, qmgr, is_active=True)
    until(lambda: qmgr.depth(QUEUE) < waiting - 10 * _EDGE, 'the first messages')
    return _resident(connector) - before


def _configure(broker: Broker, qmgr: mqi_loopback.LoopbackQueueManager, *, is_active: bool) -> None:
    broker.configure(json.dumps({
        'definition_ibm_mq': [{'name': 'bench', 'host': '127.0.0.1', 'port': qmgr.port, 'channel': mqi_loopback.CHANNEL,
                               'username': mqi_loopback.USER, 'password': mqi_loopback.PASSWORD}],
        'channel_ibm_mq': [{'name': 'bench.mq', 'definition': 'bench', 'queue': QUEUE, 'service': 'bench.mq.nothing',
                            'is_active': is_active}],
    }))  # fmt: skip


def _cpu(connector: Connector) -> float:
    """Seconds of CPU time that the connector has used."""
    fields = Path(f'/proc/{connector.pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident(connector: Connector) -> float:
    """MiB of memory that the connector has."""
    pages = int(Path(f'/proc/{connector.pid}/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20
