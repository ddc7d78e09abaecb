"""Unit costs for planning a cluster, as docs/scaling.md uses them: CPU time, commands of Redis and calls of the ODB for
each idle node, request, change of the configuration and message. CPU time hardly depends on what else the machine does.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define
from cryptography.fernet import Fernet
from sqlalchemy import text

from bench.environment import Environment, quickstart
from bench.figures import Row
from bench.load import LoadError, answer
from bench.load import Request as LoadRequest
from bench.load import run as run_load
from trial_tests.support import postgresql
from trial_tests.support.redis import spoken
from zatotx.cli.environment.odb_and_redis_access import all_object_types
from zatotx.odb.nodes import NodeAddress, list_nodes
from zatotx.odb.offline_operations import NewCluster, create_odb, open_database

IDLE_SECONDS, LOAD_SECONDS = 10.0, 3.0
CHANGES, MESSAGES, OBJECTS = 50, 1000, 2000
NODES, _REPEATS = 1000, 100
_PER_CALL = 100  # messages that one invocation adds
_PATIENCE = 120.0  # seconds
_TICK = 1 / os.sysconf('SC_CLK_TCK')
_SERVICES = """
from zatotx import Service


class Nothing(Service):
    name = 'scaling.nothing'

    async def handle(self):
        self.response.payload = {}


class Many(Service):
    name = 'scaling.many'

    async def handle(self):
        for _ in range(self.request.payload['count']):
            await self.invoke_async('scaling.nothing', {'order': 7})
        self.response.payload = {}
"""


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process so far."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK


@define
class _Node:
    """A server: its process and its own endpoints."""

    pid: int
    port: int
    authorization: dict[str, str]

    def cpu(self) -> float:
        """Return the CPU seconds of the process so far."""
        return cpu_seconds(self.pid)

    def metric(self, name: str) -> float:
        """Return a metric without labels."""
        status, body = answer(self.port, LoadRequest(path='/zato/metrics', method='GET', headers=self.authorization))
        for line in body.decode().splitlines():
            if line.startswith(f'{name} '):
                return float(line.split()[1])
        raise LoadError(f'{name} is not among the metrics (status {status})')

    def invoke(self, service: str, **payload: object) -> Any:
        """Invoke a service and return the object in its response. Raises LoadError."""
        request = LoadRequest(path=f'/zato/api/invoke/{service}', body=json.dumps(payload), headers=self.authorization)
        status, body = answer(self.port, request)
        if status != 200:
            raise LoadError(f'{service} responds with {status}: {body[:200]!r}')
        found = json.loads(body)
        return found.get(service.replace('.', '_').replace('-', '_') + '_response', found)


@define
class _Cluster:
    """Two servers and their Redis."""

    nodes: list[_Node]
    redis: Path

    def redis_figures(self) -> tuple[float, float, float]:
        """Return the CPU seconds, the commands and the bytes that Redis received and sent so far."""
        info = dict(line.split(':', 1) for line in str(spoken(self.redis, 'INFO')).splitlines() if ':' in line)
        cpu = float(info['used_cpu_user']) + float(info['used_cpu_sys'])
        traffic = float(info['total_net_input_bytes']) + float(info['total_net_output_bytes'])
        return cpu, float(info['total_commands_processed']), traffic


@define
class _Use:
    """What something used: CPU seconds of each node and of Redis, commands and bytes of Redis, calls of the ODB of each
    node."""

    nodes: list[float]
    redis: float
    commands: float
    traffic: float
    odb: list[float]
    seconds: float = 0.0


@contextmanager
def _used(cluster: _Cluster) -> Iterator[_Use]:
    """Measure a block; the result is complete when it has ended."""
    use = _Use([], 0, 0, 0, [])
    odb = [node.metric('zatotx_odb_calls_total') for node in cluster.nodes]
    cpu, redis, began = [node.cpu() for node in cluster.nodes], cluster.redis_figures(), time.monotonic()
    yield use
    use.seconds = time.monotonic() - began
    use.nodes = [node.cpu() - before for node, before in zip(cluster.nodes, cpu, strict=True)]
    use.redis, use.commands, use.traffic = (
        after - before for after, before in zip(cluster.redis_figures(), redis, strict=True)
    )
    use.odb = [node.metric('zatotx_odb_calls_total') - before for node, before in zip(cluster.nodes, odb, strict=True)]


def measure(folder: Path, say: Callable[[str], None]) -> list[Row]:
    """Measure all rows on a cluster of two servers."""
    more = ('--servers', '2', '--connectors', '0', '--no-load-balancer', '--no-web-admin')
    with quickstart(more=more) as environment:
        environment.start()
        module = folder / 'scaling_services.py'
        module.write_text(_SERVICES)
        environment.deploy([module])
        cluster = _find_cluster(environment)
        return [*_idle(cluster, say), *_requests(cluster, say), *_changes(cluster, say), *_messages(cluster, say),
                *_start(environment, folder, say), *_thousand_nodes(cluster, say)]  # fmt: skip


def _find_cluster(environment: Environment) -> _Cluster:
    authorization = environment.authorization()
    nodes = [
        _Node(int((environment.path / f'server{number}' / 'server.pid').read_text()), environment.port + number - 1,
              authorization)
        for number in (1, 2)
    ]  # fmt: skip
    return _Cluster(nodes, environment.path / 'redis' / 'redis.sock')


def _idle(cluster: _Cluster, say: Callable[[str], None]) -> list[Row]:
    with _used(cluster) as use:
        time.sleep(IDLE_SECONDS)
    say(f'  idle: {use}')
    nodes = len(cluster.nodes)
    return [
        _row('CPU of an idle node', max(use.nodes) / use.seconds * 1000, 'ms/s', 40),
        _row('commands to Redis of an idle node', use.commands / use.seconds / nodes, '/s', 15),
        _row('CPU of Redis for an idle node', use.redis / use.seconds / nodes * 1e6, 'µs/s', 5000),
        _row('calls of the ODB of an idle node', max(use.odb) / use.seconds, '/s', 3),
    ]


def _requests(cluster: _Cluster, say: Callable[[str], None]) -> list[Row]:
    node = cluster.nodes[0]
    request = LoadRequest(path='/zato/api/invoke/scaling.nothing', body='{"a": 1}', headers=node.authorization)
    at_begin: list[float] = []

    @contextmanager
    def note_begin() -> Iterator[None]:
        at_begin.append(node.cpu())
        yield

    result = run_load(node.port, request, seconds=LOAD_SECONDS, around=note_begin())
    used = node.cpu() - at_begin[0]
    say(f'  requests: {result.requests} with {used:.2f} s of CPU')
    return [_row('CPU of a request with Basic auth and an access log', used / result.requests * 1e6, 'µs', 120)]


def _changes(cluster: _Cluster, say: Callable[[str], None]) -> list[Row]:
    """Change one definition again and again on the first server; the second one only follows."""
    first, second = cluster.nodes
    fields = {'name': 'scaling', 'is_active': True, 'username': 'scaling'}
    made = first.invoke('zato.security.basic-auth.create', **fields, realm='0')
    with _used(cluster) as use:
        for number in range(1, CHANGES + 1):
            first.invoke('zato.security.basic-auth.edit', **fields, id=made['id'], realm=str(number))
        _wait(lambda: second.metric('zatotx_config_revision') >= second.metric('zatotx_odb_revision'))
    say(f'  changes: {use}')
    return [
        _row('CPU of a change of the configuration on the node that makes it', use.nodes[0] / CHANGES * 1000, 'ms', 60),
        _row('CPU of a change on each other node', use.nodes[1] / CHANGES * 1000, 'ms', 20),
        _row('calls of the ODB of a change on each other node', use.odb[1] / CHANGES, '', 6),
        _row('commands to Redis of a change', use.commands / CHANGES, '', 12),
    ]


def _messages(cluster: _Cluster, say: Callable[[str], None]) -> list[Row]:
    """Invoke a service asynchronously; both servers run it."""
    first = cluster.nodes[0]

    def runs() -> float:
        return sum(node.metric('zatotx_work_runs_total') for node in cluster.nodes)

    done = runs() + MESSAGES
    with _used(cluster) as use:
        for _ in range(MESSAGES // _PER_CALL):
            first.invoke('scaling.many', count=_PER_CALL)
        _wait(lambda: runs() >= done)
    say(f'  messages: {use}')
    return [
        _row('CPU of Redis for an asynchronous message', use.redis / MESSAGES * 1e6, 'µs', 500),
        _row('commands to Redis of an asynchronous message', use.commands / MESSAGES, '', 8),
        _row('traffic of Redis for an asynchronous message', use.traffic / MESSAGES, 'bytes', 6000),
        _row('CPU of all nodes for an asynchronous message', sum(use.nodes) / MESSAGES * 1e6, 'µs', 2500),
    ]


def _start(environment: Environment, folder: Path, say: Callable[[str], None]) -> list[Row]:
    """Restart the second server of a cluster with many objects."""
    file = folder / 'scaling.yaml'
    file.write_text('security:\n' + ''.join(
        f'  - {{name: user-{number}, type: apikey, header: X-Key-{number}, password: key-{number}}}\n'
        for number in range(OBJECTS)
    ))  # fmt: skip
    environment.enmasse(file)
    environment.command('restart', str(environment.path / 'server2'))
    node = _find_cluster(environment).nodes[1]
    calls, seconds = node.metric('zatotx_odb_calls_total'), node.metric('zatotx_odb_duration_seconds_sum')
    say(f'  start: {calls:.0f} calls of the ODB in {seconds:.2f} s, {node.cpu():.2f} s of CPU')
    return [
        _row(f'calls of the ODB of a start with {OBJECTS:,} objects', calls, '', 30),
        _row(f'time in the ODB of a start with {OBJECTS:,} objects', seconds, 's', 10),
        _row(f'CPU of a start with {OBJECTS:,} objects', node.cpu(), 's', 10),
    ]


def _thousand_nodes(cluster: _Cluster, say: Callable[[str], None]) -> list[Row]:
    """What each heartbeat reads about the other nodes, if there are a thousand of them."""
    server, key = postgresql.shared(), Fernet.generate_key().decode()
    url = server.fresh()
    rows = tuple(NodeAddress(name=f'server{number}', host='10.0.0.1', port=17010) for number in range(NODES))
    create_odb(url, key, NewCluster(name='many', nodes=rows), types=all_object_types())
    database = open_database(url, key, cluster='many', types=all_object_types())
    try:
        pid = database.read(lambda connection, _: connection.execute(text('SELECT pg_backend_pid()')).scalar_one())
        began, backend = time.process_time(), cpu_seconds(pid)
        for _ in range(_REPEATS):
            assert len(database.read(list_nodes)) == NODES
        odb, backend = (time.process_time() - began) / _REPEATS, (cpu_seconds(pid) - backend) / _REPEATS
    finally:
        database.close()
    spoken(cluster.redis, 'XGROUP', 'CREATE', 'scaling', 'group', '0', 'MKSTREAM')
    for number in range(NODES):
        spoken(cluster.redis, 'XGROUP', 'CREATECONSUMER', 'scaling', 'group', f'{number}.{number:032x}')
    before = cluster.redis_figures()
    for _ in range(_REPEATS):
        assert len(spoken(cluster.redis, 'XINFO', 'CONSUMERS', 'scaling', 'group')) == NODES
    cpu, _, traffic = (after - earlier for after, earlier in zip(cluster.redis_figures(), before, strict=True))
    say(f'  {NODES} nodes: {odb * 1000:.1f} ms for their rows, {cpu / _REPEATS * 1000:.2f} ms of Redis')
    return [
        _row(f'CPU of a node for reading the rows of {NODES:,} nodes', odb * 1000, 'ms', 50),
        _row(f'CPU of PostgreSQL for the rows of {NODES:,} nodes', backend * 1000, 'ms', 20),
        _row(f'CPU of Redis for the list of {NODES:,} consumers', cpu / _REPEATS * 1000, 'ms', 10),
        _row(f'traffic of the list of {NODES:,} consumers', traffic / _REPEATS / 1000, 'kB', 400),
    ]


def _row(what: str, value: float, unit: str, bar: float) -> Row:
    """Return a row. The bar is what the arithmetic of docs/scaling.md allows for."""
    return Row(what=what, figure=f'{value:,.3g} {unit}'.rstrip(), value=value, bar=bar, unit=f' {unit}'.rstrip())


def _wait(is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not is_done():
        if time.monotonic() > deadline:
            raise LoadError('the cluster did not finish in time')
        time.sleep(0.05)
