"""A cluster of two servers of different versions on one database, as during a rolling upgrade.

`python -m trial_tests.support.version_skew [REVISION]` builds the wheel of a commit (default: HEAD) as the older
version, and the wheel of this working tree, with one more migration and a higher version of messages, as the newer one.
The older version creates and runs the cluster; the newer one upgrades the database and one server. Needs git and no
network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from attrs import define

from trial_tests.support.broker import free_offset
from trial_tests.support.rawhttp import NoAnswer, ask, basic
from trial_tests.support.redis import spoken
from trial_tests.support.waiting import until
from zatotx.cli.environment.environment_layout import read_credentials
from zatotx.odb.tables import SCHEMA_VERSION

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0  # seconds
MESSAGES = 200
SERVICES = '''
from zatotx import Service

class Note(Service):
    name = 'skew.note'
    async def handle(self):
        with open({file!r}, 'a') as file:
            file.write(self.server.name + ' ' + str(self.request.payload['n']) + chr(10))

class Send(Service):
    name = 'skew.send'
    async def handle(self):
        for n in range(self.request.payload['count']):
            await self.invoke_async('skew.note', {{'n': n}})
        self.response.payload = {{}}
'''
MIGRATION = '''
import sqlalchemy as sa

from zatotx.odb.column_types import LONG_TEXT
from zatotx.odb.migrations.idempotent_changes import add_column, create_table

revision, down_revision = {new!r}, {old!r}
branch_labels = depends_on = None


def upgrade():
    add_column('server', sa.Column('region', sa.String(64), nullable=False, server_default=''))
    create_table('newer', sa.Column('id', sa.Integer(), nullable=False), sa.PrimaryKeyConstraint('id', name='pk_newer'))
'''


def build(source: Path, target: Path) -> None:
    """Install the wheel of a source tree into a directory."""
    command = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-build-isolation', '--no-index',
               '--target', str(target), str(source)]  # fmt: skip
    subprocess.run(command, check=True, timeout=600)


def make_older(revision: str, folder: Path) -> Path:
    """Install the wheel of a commit; returns the directory."""
    source = folder / 'older-source'
    source.mkdir()
    archive = subprocess.run(['git', 'archive', revision], cwd=ROOT, check=True, capture_output=True, timeout=120)
    subprocess.run(['tar', '-x', '-C', str(source)], input=archive.stdout, check=True, timeout=120)
    build(source, folder / 'older')
    return folder / 'older'


def make_newer(folder: Path) -> Path:
    """Install the wheel of this working tree with the next migration and version of messages; returns the directory."""
    source = folder / 'newer-source'
    names = subprocess.run(['git', 'ls-files'], cwd=ROOT, check=True, capture_output=True, text=True, timeout=120)
    for name in names.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    version = f'{int(SCHEMA_VERSION) + 1:04}'
    migration = source / 'zatotx' / 'odb' / 'migrations' / 'versions' / f'v{version}_newer.py'
    migration.write_text(MIGRATION.format(new=version, old=SCHEMA_VERSION))
    replace(source / 'zatotx/odb/tables.py', f"SCHEMA_VERSION = '{SCHEMA_VERSION}'", f"SCHEMA_VERSION = '{version}'")
    replace(source / 'zatotx/model/work_message.py', 'WORK_VERSION = 1', 'WORK_VERSION = 2')
    replace(source / 'zatotx/redis/cluster_announcements.py', 'MESSAGE_VERSION = 1', 'MESSAGE_VERSION = 2')
    build(source, folder / 'newer')
    return folder / 'newer'


def replace(file: Path, old: str, new: str) -> None:
    """Replace text that must be in a file."""
    text = file.read_text('utf-8')
    if old not in text:
        raise AssertionError(f'{file} does not contain {old!r}')
    file.write_text(text.replace(old, new), 'utf-8')


@define
class SkewedCluster:
    """The cluster. Commands run with the version in a directory."""

    path: Path
    offset: int

    def run(self, version: Path, *words: str) -> str:
        """Run `zatotx WORDS` of a version and return what it printed. Raises AssertionError with it if it fails."""
        program = 'from zatotx.cli.main import main; main()'
        environment = {**os.environ, 'PYTHONPATH': str(version)}
        done = subprocess.run([sys.executable, '-c', program, *words], env=environment, cwd=self.path.parent,
                              capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
        if done.returncode:
            raise AssertionError(f'zatotx {" ".join(words)}: {done.stdout}{done.stderr}')
        return done.stdout

    def invoke(self, server: int, service: str, payload: object) -> Any:
        """Invoke a service on a server."""
        user = read_credentials(self.path, 'api')
        answer = ask(17009 + server + self.offset, 'POST', f'/zato/api/invoke/{service}',
                     fields=basic(user.username, user.password), body=json.dumps(payload).encode())  # fmt: skip
        if answer.status != 200:
            raise AssertionError(f'{service} on server{server}: {answer.status} {answer.body!r}')
        return answer.json()

    def has_user(self, server: int, name: str) -> bool:
        """Return whether a Basic Auth definition is in force on a server."""
        found = self.invoke(server, 'zato.security.basic-auth.get-list', {})
        return any(row['name'] == name for row in found['zato_security_basic_auth_get_list_response'])

    def is_ready(self, server: int) -> bool:
        """Return whether a server is ready."""
        try:
            return ask(17009 + server + self.offset, 'GET', '/zato/ready').status == 200
        except (NoAnswer, OSError):
            return False


def require(name: str, is_true: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until something holds, and print it."""
    began = time.monotonic()
    until(is_true, name, seconds)
    print(f'{time.monotonic() - began:6.1f} s  {name}', flush=True)


def check(cluster: SkewedCluster, older: Path, newer: Path) -> None:
    """Upgrade one server of a cluster and check what must hold."""
    notes = cluster.path.parent / 'notes'
    path, first, second = str(cluster.path), str(cluster.path / 'server1'), str(cluster.path / 'server2')

    def noted() -> list[list[str]]:
        return [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []

    cluster.run(older, 'start', path)
    module = cluster.path.parent / 'skew_services.py'
    module.write_text(SERVICES.format(file=str(notes)))
    cluster.run(older, 'hot-deploy', path, str(module))
    print(cluster.run(newer, 'odb', 'upgrade', path).strip())
    require('the older server runs on the upgraded database', lambda: cluster.is_ready(1), 10)
    cluster.run(newer, 'stop', second)
    cluster.run(newer, 'start', second)
    require('a server of the newer version is ready', lambda: cluster.is_ready(2))
    cluster.run(older, 'stop', first)
    cluster.run(older, 'start', first)
    require('the server of the older version starts on the upgraded database', lambda: cluster.is_ready(1))
    for server in (1, 2):
        name = f'user{server}'
        fields = {'name': name, 'is_active': True, 'username': name, 'realm': 'r'}
        cluster.invoke(server, 'zato.security.basic-auth.create', fields)
        require(f'a change through server{server} is in force on both',
                lambda name=name: all(cluster.has_user(other, name) for other in (1, 2)), 5)  # type: ignore[misc]
    cluster.run(newer, 'hot-deploy', path, str(module))
    for server in (1, 2):
        cluster.invoke(server, 'skew.send', {'count': MESSAGES})
    require(f'{2 * MESSAGES} messages of both versions ran', lambda: len(noted()) >= 2 * MESSAGES)
    require('both servers ran some of them', lambda: {name for name, _ in noted()} == {'server1', 'server2'})
    stream = str(next(iter(spoken(cluster.path / 'redis' / 'redis.sock', 'KEYS', '*:stream:work'))))
    for number in range(20):
        message = {'version': 2, 'id': f'new-{number}', 'cid': f'new-{number}', 'service': 'skew.note',
                   'payload': {'n': f'new-{number}'}, 'added_by_the_newer_version': [number]}  # fmt: skip
        spoken(cluster.path / 'redis' / 'redis.sock', 'XADD', stream, '*', 'm', msgspec.msgpack.encode(message))
    require('20 messages of the newer version ran on its server only',
            lambda: len({n for _, n in noted() if n.startswith('new-')}) == 20)  # fmt: skip
    assert {name for name, n in noted() if n.startswith('new-')} == {'server2'}, noted()
    letters = json.loads(cluster.run(newer, 'dead-letter', 'list', path, '--format', 'json'))
    assert letters == [], letters
    print('no message was lost, no dead letter was written')


def main(arguments: Sequence[str]) -> int:
    """Run it; returns the exit status."""
    revision = arguments[0] if arguments else 'HEAD'
    with tempfile.TemporaryDirectory(prefix='zatotx-skew-') as name:
        folder = Path(name)
        older, newer = make_older(revision, folder), make_newer(folder)
        cluster = SkewedCluster(folder / 'env', free_offset())
        cluster.run(older, 'quickstart', 'create', str(cluster.path), '--port-offset', str(cluster.offset),
                    '--no-load-balancer', '--no-web-admin', '--connectors', '0')  # fmt: skip
        try:
            check(cluster, older, newer)
        finally:
            cluster.run(newer, 'stop', str(cluster.path))
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
