"""Kills servers and Redis at random moments while messages go through the work stream, and counts what was lost.

`python -m trial_tests.support.work_chaos` runs MESSAGES (20,000) from SEED, which it prints; `make chaos` calls it.
A message counts as accepted when the call that wrote it has returned; it must then run at least once.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from threading import Thread

from attrs import define, field

from trial_tests.support.broker import Broker, create, remove
from trial_tests.support.rawhttp import NoAnswer

BATCH = 100  # messages of one call
SERVERS = 3
SERVICES = '''
import os
from twisted.internet.task import deferLater
from zatotx import Service

FILE = {file!r}

class Run(Service):
    """ Notes its number after a moment. """
    name = 'chaos.run'
    async def handle(self):
        from twisted.internet import reactor
        await deferLater(reactor, self.request.payload['seconds'])
        with open(FILE, 'a') as file:
            file.write(f"{{self.request.payload['n']}}\\n")

class Send(Service):
    """ Writes messages. """
    name = 'chaos.send'
    async def handle(self):
        for n in self.request.payload['numbers']:
            await self.invoke_async('chaos.run', {{'n': n, 'seconds': self.request.payload['seconds']}})
        self.response.payload = {{'sent': True}}
'''


@define
class ChaosReport:
    """What happened."""

    seed: int
    accepted: int = 0
    runs: int = 0
    lost: list[int] = field(factory=list)
    dead: int = 0  # accepted messages that are dead letters
    repeated: int = 0
    kills: Counter[str] = field(factory=Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        kills = ', '.join(f'{count} x {name}' for name, count in sorted(self.kills.items()))
        return (f'seed {self.seed}: {self.accepted:,} messages accepted, {self.runs:,} runs, {self.repeated} repeated, '
                f'{self.dead} dead letters, {len(self.lost)} lost; killed {kills}; {self.seconds:.0f} s')


@define
class Chaos:
    """One run on a fresh environment."""

    seed: int
    messages: int
    kills: int
    targets: tuple[str, ...] = ('server1', 'server2', 'server3', 'redis')
    _is_over: bool = False

    def run(self) -> ChaosReport:
        """Run all, and remove the environment."""
        report, random = ChaosReport(self.seed), Random(self.seed)
        broker = create(servers=SERVERS)
        began = time.monotonic()
        try:
            broker.start()
            file = broker.path.parent / 'numbers'
            broker.serve('chaos_services.py', SERVICES.format(file=str(file)))
            accepted: set[int] = set()
            sender = Thread(target=self._send, args=(broker, accepted, Random(self.seed + 1)), daemon=True)
            sender.start()
            while sender.is_alive() or report.kills.total() < self.kills:
                self._kill(broker, random, report)
                sender.join(random.uniform(0.2, 3.0) if report.kills.total() < self.kills else None)
            self._wait_for_all(broker, file, accepted)
            self._count(broker, file, accepted, report)
        finally:
            report.seconds = time.monotonic() - began
            remove(broker)
        return report

    def _send(self, broker: Broker, accepted: set[int], random: Random) -> None:
        number = 0
        while len(accepted) < self.messages:
            numbers = list(range(number, number + BATCH))
            number += BATCH
            request = json.dumps({'numbers': numbers, 'seconds': random.choice((0, 0.01, 0.3))}).encode()
            try:
                answer = broker.invoke('chaos.send', request, server=random.randint(1, SERVERS))
                if answer.status == 200:
                    accepted.update(numbers)
            except (NoAnswer, OSError):
                time.sleep(0.1)  # that server was killed

    def _kill(self, broker: Broker, random: Random, report: ChaosReport) -> None:
        """Kill a process, and start it again; at most `kills` times."""
        if report.kills.total() >= self.kills:
            return
        target = random.choice(self.targets)
        broker.kill(target) if target != 'redis' else _kill_redis(broker)
        report.kills[target] += 1
        time.sleep(random.uniform(0, 1))
        if target != 'redis' or not broker.pids('redis'):
            broker.must('start', str(broker.path))

    def _wait_for_all(self, broker: Broker, file: Path, accepted: set[int]) -> None:
        """Wait until every message has run or is a dead letter, or nothing has happened for a minute."""
        size, changed = -1, time.monotonic()
        while time.monotonic() - changed < 60 and not accepted <= set(_numbers(file)):
            now = file.stat().st_size if file.exists() else 0
            if now != size:
                size, changed = now, time.monotonic()
            time.sleep(0.5)

    def _count(self, broker: Broker, file: Path, accepted: set[int], report: ChaosReport) -> None:
        listed = broker.must('dead-letter', 'list', str(broker.path), '--format', 'json', '--limit', '10000')
        dead = {row['payload']['n'] for row in json.loads(listed)}
        runs = Counter(_numbers(file))
        report.accepted, report.runs = len(accepted), runs.total()
        report.repeated = sum(count > 1 for count in runs.values())
        report.dead = len(dead & accepted - set(runs))
        report.lost = sorted(accepted - set(runs) - dead)


def _kill_redis(broker: Broker) -> None:
    """kill -9 of the Redis process, whose supervisor starts it again."""
    for pid in broker.pids('redis'):
        name = Path(f'/proc/{pid}/comm')
        if 'valkey' in (name.read_text() if name.exists() else ''):
            os.kill(pid, 9)


def _numbers(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().splitlines() if line.isdigit()] if file.exists() else []


def main() -> int:
    """Run with SEED, MESSAGES and KILLS from the environment; 1 if a message was lost."""
    seed = int(os.environ.get('SEED') or secrets.randbelow(1_000_000))
    messages, kills = int(os.environ.get('MESSAGES') or 20_000), int(os.environ.get('KILLS') or 20)
    print(f'SEED={seed} MESSAGES={messages} KILLS={kills}', flush=True)
    report = Chaos(seed, messages, kills).run()
    print(report, flush=True)
    if report.lost:
        print(f'lost: {report.lost[:50]}')
    return 1 if report.lost else 0


if __name__ == '__main__':
    sys.exit(main())
