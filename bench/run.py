"""`make bench`: runs the benchmarks, prints a table and writes it to bench/results/. Exits with 1 if a bar is missed.

    python -m bench.run [--rounds 5] [--seconds 5] [--only echo,start] [--profile]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench import (
    admin,
    amqp,
    blocking,
    channels,
    footprint,
    formats,
    ftp,
    hostile,
    hostile_logins,
    hostile_memory,
    ibm_mq,
    instructions,
    limits,
    load_balancer,
    outgoing,
    overload,
    pipelines,
    profiling,
    scaling,
    scheduler,
    sql,
    starting,
    throughput,
    workers,
    zmq,
)
from bench.environment import CommandError, Environment, quickstart
from bench.figures import Row, table
from bench.load import LoadError, check_tools
from bench.machine import describe

RESULTS = Path(__file__).with_name('results')
SUBJECTS = ('idle', 'echo', 'connections', 'overload', 'start', 'channels', 'pipelines', 'workers',
            'outgoing', 'blocking', 'scheduler', 'scaling', 'sql', 'ftp', 'amqp', 'mq', 'zmq', 'lb', 'formats',
            'limits', 'hostile', 'admin', 'instructions')


def say(text: str) -> None:
    """Print a progress message."""
    print(text, flush=True)


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """Yield all selected rows. A benchmark that fails yields a row that is not met, and the others continue."""
    with tempfile.TemporaryDirectory(prefix='zatotx-bench-') as name, quickstart() as environment:
        if 'blocking' in options.only:
            blocking.prepare(environment)
        environment.start()
        yield from _on_one(environment, Path(name), options)
    if 'instructions' in options.only:
        say('instructions: what a request takes, whatever else the machine does')
        yield from _rows('instructions', lambda: instructions.rows(say))
    if 'scheduler' in options.only:
        say('scheduler: 100,000 jobs')
        yield from _rows('scheduler', lambda: scheduler.measure(say))
    if 'scaling' in options.only:
        say('scaling: unit costs of a cluster')
        with tempfile.TemporaryDirectory(prefix='zatotx-bench-') as name:
            yield from _rows('scaling', lambda: scaling.measure(Path(name), say))
    if 'sql' in options.only:
        say('sql: statements relative to SQLAlchemy in threads, and cancelled ones')
        yield from _rows('sql', lambda: sql.measure(options.rounds, say))
    if 'ftp' in options.only:
        say('ftp: a file of 1 GB, relative to curl')
        yield from _rows('ftp', lambda: ftp.measure(options.rounds, say))
    if 'amqp' in options.only:
        say('amqp: messages relative to bare pika')
        yield from _rows('amqp', lambda: amqp.measure(options.rounds, say))
    if 'mq' in options.only:
        say('mq: messages of IBM MQ, relative to bare pymqi')
        yield from _rows('mq', lambda: ibm_mq.measure(options.rounds, say))
    if 'zmq' in options.only:
        say('zmq: messages to a service, relative to txZMQ')
        yield from _rows('zmq', lambda: zmq.measure(options.rounds, say))
    if 'lb' in options.only:
        say('lb: the load balancer relative to HAProxy')
        with tempfile.TemporaryDirectory(prefix='zatotx-bench-') as name:
            place, seconds = Path(name), options.seconds
            yield from _rows('lb', lambda: load_balancer.measure(place, options.rounds, seconds, say))
            if options.profile:
                say(load_balancer.profile(place / 'profile', seconds))
    if 'channels' in options.only:
        say('channels: 10,000 relative to 10')
        yield from _rows('channels', lambda: channels.measure(rounds=options.rounds, seconds=options.seconds, say=say))
    if 'admin' in options.only:
        say('admin: pages, memory and live figures of the web admin')
        yield from _rows('admin', lambda: admin.measure(say))
    if 'pipelines' in options.only:
        say('pipelines: Redis batches relative to txredisapi')
        seconds = min(2.0, options.seconds)
        yield from _rows('pipelines', lambda: [pipelines.measure(rounds=options.rounds, seconds=seconds, say=say)])


def _on_one(environment: Environment, folder: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Yield the rows that are measured on one server with the echoes."""
    rounds, seconds = options.rounds, options.seconds
    if 'idle' in options.only:
        say('idle: memory of an idle server')
        yield from _rows('idle', lambda: [footprint.measure_idle(environment)])
    throughput.serve_echoes(environment, folder)
    if 'echo' in options.only:
        say('echo: the broker and its peers')
        yield from _rows('echo', lambda: throughput.measure(environment, rounds=rounds, seconds=seconds, say=say))
    if 'connections' in options.only:
        say('connections: memory of idle keep-alive connections')
        yield from _rows('connections', lambda: [footprint.measure_connections(environment)])
    if 'overload' in options.only:
        say('overload: ten times the capacity')
        overload.serve(environment, folder)
        yield from _rows('overload', lambda: overload.measure(environment, seconds=seconds, say=say))
    if 'start' in options.only:
        say('start: time from exec to the first response')
        yield from _rows('start', lambda: [starting.measure(environment, folder, rounds=rounds, say=say)])
    if 'workers' in options.only:
        say('workers: two relative to one, and how they share a port')
        yield from _rows('workers', lambda: workers.measure(environment, folder, (rounds, seconds), say))
    if 'outgoing' in options.only:
        say('outgoing: calls of other systems, and a relay')
        yield from _rows('outgoing', lambda: outgoing.measure(environment, folder, (rounds, seconds), say))
    if 'blocking' in options.only:
        say('blocking: pings while operations take long and peers are frozen')
        yield from _rows('blocking', lambda: blocking.measure(environment, folder, say))
    if 'formats' in options.only:
        say('formats: XML, SOAP with WS-Security, JWT')
        yield from _rows('formats', lambda: formats.measure(environment, folder, (rounds, seconds), say))
    if 'limits' in options.only:
        say('limits: rate limits in Redis and per server')
        yield from _rows('limits', lambda: limits.measure(environment, folder, (rounds, seconds), say))
    if 'hostile' in options.only:
        say('hostile: malicious clients')
        yield from _rows('hostile', lambda: list(hostile.measure(environment, folder, say)))
        yield from _rows('hostile', lambda: hostile_logins.measure(environment, folder, say=say))
        yield from _rows('hostile', lambda: hostile_memory.measure(environment, folder, say))
    if options.profile:
        say(profiling.profile(environment, folder, seconds=seconds))


def _rows(subject: str, found: Callable[[], list[Row]]) -> list[Row]:
    try:
        return found()
    except (LoadError, CommandError, OSError) as why:
        say(f'{subject}: {why}')
        return [Row(what=subject, figure=f'not measured: {why}', value=0, bar=1, at_least=True)]


def report(rows: list[Row], machine: str, now: datetime, folder: Path = RESULTS) -> Path:
    """Write the table as Markdown and the rows as JSON."""
    folder.mkdir(exist_ok=True)
    file = folder / f'{now:%Y-%m-%d}.md'
    file.write_text(f'# {now:%Y-%m-%d %H:%M} UTC\n\n{machine}\n\n{table(rows)}\n')
    facts = {'at': now.isoformat(timespec='seconds'), 'machine': machine, 'rows': rows}
    (folder / 'latest.json').write_bytes(msgspec.json.format(msgspec.json.encode(facts)) + b'\n')
    return file


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog='python -m bench.run', description='Benchmark the broker and its peers.')
    parser.add_argument('--rounds', type=int, default=5, help='number of runs (default 5)')
    parser.add_argument('--seconds', type=float, default=5, help='duration of a run in seconds (default 5)')
    parser.add_argument('--only', default=','.join(SUBJECTS), help=f'some of {",".join(SUBJECTS)} (default: all)')
    parser.add_argument('--profile', action='store_true', help='also print a profile of the echo')
    options = parser.parse_args(arguments)
    options.only = [name for name in options.only.split(',') if name]
    if unknown := sorted(set(options.only) - set(SUBJECTS)):
        parser.error(f'unknown: {", ".join(unknown)}; known benchmarks are {", ".join(SUBJECTS)}')
    return options


def main(arguments: list[str]) -> int:
    """Run the benchmarks and return the exit status: 1 if a bar is missed or a tool is not installed."""
    options = parse(arguments)
    # Images of containers often set this variable. An installed server has its bytecode, since pip compiles it; without
    # it, a start compiles 400 modules, which takes a third of the CPU time of the whole start.
    os.environ.pop('PYTHONDONTWRITEBYTECODE', None)
    if missing := check_tools():
        say('\n'.join(missing))
        return 1
    machine = describe()
    say(machine)
    rows = list(measure(options))
    if not rows:
        return 0
    say(f'\n{machine}\n\n{table(rows)}')
    say(f'Written to {report(rows, machine, datetime.now(UTC))}')
    return 0 if all(row.met for row in rows) else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
