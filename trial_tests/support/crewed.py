"""An environment whose one server has two workers, and what tests ask of it."""

from __future__ import annotations

import os
import ssl
import time
from contextlib import suppress
from pathlib import Path

from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.certificate import write_certificate
from trial_tests.support.rawhttp import Connection, NoAnswer, request_bytes
from trial_tests.support.waiting import allowed, until
from zatotx.processes.workers.status_file import StatusFile, read_status_file
from zatotx.rules.resilience.supervision import DEATH_WINDOW, MAX_DEATHS

PATIENCE = 60.0  # seconds for what takes one or two on an idle machine

_SERVICES = '''
import os
import subprocess

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from zatotx import Service


class Who(Service):
    """ Which process answers. """
    name = 'w.who'

    async def handle(self):
        self.response.payload = {'pid': os.getpid(), 'version': 1}


class Slow(Service):
    """ Takes until the file GO is there. """
    name = 'w.slow'

    async def handle(self):
        from twisted.internet import reactor
        while not os.path.exists('GO'):
            await deferLater(reactor, 0.05)
        self.response.payload = {'pid': os.getpid()}


class Hangs(Service):
    name = 'w.hangs'

    async def handle(self):
        await Deferred()


class Descriptors(Service):
    """ What a careless program would inherit. """
    name = 'w.descriptors'

    def handle(self):
        found = subprocess.run(['ls', '-l', '/proc/self/fd'], close_fds=False, capture_output=True, text=True)
        self.response.payload = {'found': [line.split(' ')[-1] for line in found.stdout.splitlines()[1:]]}
'''

CHANNELS = """
channel_rest:
  - {name: w.who, url_path: /w/who, service: w.who, security: null, data_format: json}
  - {name: w.slow, url_path: /w/slow, service: w.slow, security: null, data_format: json}
  - {name: w.descriptors, url_path: /w/descriptors, service: w.descriptors, security: null, data_format: json}
  - {name: w.hangs, url_path: /w/hangs, service: w.hangs, security: null, data_format: json, max_in_flight: 3}
"""


def crewed() -> Broker:
    """The environment, running: started again if a test left it stopped."""
    broker = stopped_or_running()
    if not broker.pids():
        broker.start()
    return broker


def stopped_or_running() -> Broker:
    """The environment as the last test left it."""
    return shared('crewed', _built)


def services(broker: Broker, version: int = 1) -> str:
    """The module of its services."""
    return _SERVICES.replace('GO', str(go(broker))).replace("'version': 1", f"'version': {version}")


def go(broker: Broker) -> Path:
    """What w.slow waits for."""
    return broker.path.parent / 'go'


def tls_port(broker: Broker) -> int:
    """Where its server listens with TLS besides."""
    return broker.port() + 1


def seen_certificate(broker: Broker) -> str:
    """What a new connection gets, as PEM."""
    return ssl.get_server_certificate(('127.0.0.1', tls_port(broker)), timeout=PATIENCE)


def _built() -> Broker:
    broker = create(more=['--workers', '2'])
    certificate = write_certificate(broker.directory() / 'config' / 'tls.pem')
    broker.set('http', listen=[
        f'tcp:port={broker.port()}:interface=127.0.0.1',
        f'ssl:port={tls_port(broker)}:interface=127.0.0.1:privateKey={certificate}:certKey={certificate}',
    ])
    broker.start()
    broker.serve('w_services.py', services(broker))
    broker.configure(CHANNELS)
    return broker


def parent(broker: Broker) -> int:
    """The process that server.pid names."""
    return int((broker.directory() / 'server.pid').read_text())


def roster(broker: Broker) -> StatusFile:
    """What the parent says of its workers."""
    found = read_status_file(broker.directory() / 'work', parent(broker))
    assert found is not None
    return found


def workers(broker: Broker) -> list[int]:
    """The processes of the workers that are ready."""
    return [worker.pid for worker in roster(broker).workers if worker.state == 'ready']


_killed: dict[str, list[float]] = {}  # environment -> when workers were killed


def may_kill(broker: Broker, count: int) -> None:
    """To be said before so many workers are killed: where they would be too many in half a minute, and the parent would
    rightly give up, the server begins anew."""
    now = time.monotonic()
    recent = [moment for moment in _killed.get(str(broker.path), ()) if now - moment < DEATH_WINDOW + 30]
    if len(recent) + count >= MAX_DEATHS:
        broker.must('stop', str(broker.directory()))
        broker.must('start', str(broker.directory()))
        recent = []
    _killed[str(broker.path)] = [*recent, *[now] * count]


def replaced(broker: Broker, gone: int) -> list[int]:
    """Wait until another worker has taken the place of that process."""
    def both() -> list[int]:
        found = workers(broker)
        return found if len(found) == 2 and gone not in found else []

    return until(both, f'a worker instead of {gone}', PATIENCE)


def asked(port: int, path: str = '/w/who') -> dict[str, object]:
    """The answer on a connection of its own, which must be good."""
    connection = Connection(port, PATIENCE)
    try:
        connection.send(request_bytes('GET', path, {'Connection': 'close'}))
        answer = connection.answer()
        assert answer.status == 200, answer
        found: dict[str, object] = answer.json()
        return found
    finally:
        connection.drop()


def hang(broker: Broker) -> Connection | None:
    """A request to w.hangs that is under way; None where it is refused at once."""
    connection = Connection(broker.port(), allowed(0.5))
    connection.send(request_bytes('GET', '/w/hangs'))
    with suppress(NoAnswer, OSError):
        answer = connection.answer()
        connection.drop()
        assert answer.status == 503, answer
        return None
    return connection


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f'/proc/{pid}/stat') as stat:  # noqa: PTH123
        return stat.read().rpartition(')')[2].split()[0] not in 'ZX'
