"""Benchmarks of blocking operations: the latency of /zato/ping while fifty of each are under way, or 200 that send
messages to frozen brokers; the stalls of the reactor, and when the calls of frozen peers end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import sleep

import msgspec
import yaml

from bench import load
from bench.environment import Environment
from bench.figures import Row
from bench.machine import LOAD_CORE
from trial_tests.support import mqi_loopback
from trial_tests.support.blocking_operations import (
    CHANNEL_KINDS,
    OPERATIONS,
    Operation,
    Peers,
    Site,
    Stalls,
    document,
    path,
    services,
)
from trial_tests.support.pings import Pings
from trial_tests.support.postgresql import PostgreSQL

AT_ONCE, SECONDS = 50, 5.0  # operations under way, and how long each takes
_RATE, _IDLE = 200.0, 3.0  # pings per second, seconds of the measurement without operations
_STALL_BAR = 50.0  # milliseconds
_TIMEOUT_BAR = 1.1  # of the timeout
_MAX_CONNECTIONS = 4 * AT_ONCE


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """An operation and the pings during it; milliseconds."""

    title: str
    zato: str  # the same in Zato 1.1
    idle: float  # 99th percentile without operations
    busy: float  # 99th percentile
    stall: float  # upper bound of the longest stall
    bar: float  # of `busy`
    slowest: float | None = None  # seconds of the longest call of a frozen peer

    def rows(self) -> list[Row]:
        """A row for the pings, one for the reactor, and one for calls of a frozen peer."""
        rows = [
            Row(what=f'p99 of /zato/ping during {self.title}', figure=f'{self.busy:.2f} ms (idle {self.idle:.2f} ms)',
                value=self.busy, bar=self.bar, unit=' ms'),
            Row(what=f'longest stall during {self.title}', figure=f'<= {self.stall:g} ms', value=self.stall,
                bar=_STALL_BAR, unit=' ms'),
        ]  # fmt: skip
        if self.slowest is not None:
            rows.append(Row(what=f'longest call during {self.title}', figure=f'{self.slowest:.2f} s of {SECONDS:g} s',
                            value=self.slowest, bar=SECONDS * _TIMEOUT_BAR, unit=' s'))  # fmt: skip
        return rows


def prepare(environment: Environment) -> None:
    """Have the server run the channels of all kinds. It does not run yet."""
    mqi_loopback.install()  # before the server, which imports pymqi
    file = environment.server / 'config' / 'server.toml'
    text = file.read_text('utf-8')
    file.write_text(text.replace('[main]\n', f'[main]\nconnector_kinds = {list(CHANNEL_KINDS)!r}\n', 1), 'utf-8')


def measure(environment: Environment, folder: Path, say: Callable[[str], None]) -> list[Row]:
    """Measure all rows. The environment runs."""
    postgresql = PostgreSQL(f'max_connections={_MAX_CONNECTIONS}')
    postgresql.start()
    try:
        peers = Peers(environment.path, postgresql)
        try:
            _serve(environment, folder, peers)
            found = [_measured(environment, peers, one, say) for one in OPERATIONS]
        finally:
            peers.close()
    finally:
        postgresql.close()
    say(table(found))
    return [row for one in found for row in one.rows()]


def table(found: list[Measured]) -> str:
    """The comparison with Zato 1.1 as a Markdown table."""
    lines = ['| operation | Zato 1.1 | here: p99 idle | busy | longest stall |', '| --- | --- | --- | --- | --- |']
    lines += [f'| {one.title} | {one.zato} | {one.idle:.2f} ms | {one.busy:.2f} ms | <= {one.stall:g} ms |'
              for one in found]  # fmt: skip
    return '\n'.join(lines)


def _serve(environment: Environment, folder: Path, peers: Peers) -> None:
    module, objects = folder / 'blocking_services.py', folder / 'blocking.yaml'
    module.write_text(services(SECONDS))
    objects.write_text(yaml.safe_dump(document(peers, SECONDS, AT_ONCE)))
    environment.deploy([module])
    environment.enmasse(objects)


def _measured(environment: Environment, peers: Peers, operation: Operation, say: Callable[[str], None]) -> Measured:
    site = Site(port=environment.port, authorization=environment.authorization(), seconds=SECONDS, peers=peers)
    if operation.peer:  # its connections exist before it freezes
        environment.wait_until_served(load.Request(path=path('upload'), method='POST', body='{"a": 1}'))
    with Pings(site.port, _RATE, core=LOAD_CORE) as pings:
        sleep(_IDLE)
    idle = pings.p99
    before = Stalls.read(site)
    with peers.frozen(*filter(None, [operation.peer])), Pings(site.port, _RATE, core=LOAD_CORE) as pings:
        finish = operation.begin(site, operation.count)
        sleep(SECONDS)
        ended = finish()
    if ended.problems:
        raise load.LoadError(f'{operation.title}: {len(ended.problems)} failed, such as: {ended.problems[0]}')
    stall = Stalls.read(site).longest_since(before) * 1000
    found = Measured(title=operation.title, zato=operation.zato, idle=idle, busy=pings.p99, stall=stall,
                     bar=max(2 * idle, operation.p99),
                     slowest=ended.slowest if operation.is_timed else None)  # fmt: skip
    say(f'  {found.title}: p99 {idle:.2f} ms idle, {found.busy:.2f} ms busy, longest stall <= {stall:g} ms')
    return found
