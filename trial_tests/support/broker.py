"""A real broker for tests: a quickstart environment made, started and driven by the command line that users have.

`shared(key, build)` keeps one running for all tests that name the same key, until two others were asked for since, or
the test process ends: starting one takes seconds of CPU time, and each needs 200 MB of memory.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from textwrap import dedent

from trial_tests.support.command import Said, apart, zatotx
from trial_tests.support.ports import claim, is_free
from trial_tests.support.rawhttp import Answer, ask, basic
from trial_tests.support.waiting import until

SCRIPTS = Path(sys.executable).parent
_PORTS = (17010, 17011, 17012, 17021, 17031, 17032, 11223, 20151, 8183)
_STARTING = ('start', 'restart')
MAX_SHARED = 2  # shared environments that run at a time


class Broker:
    """One environment under a directory of its own."""

    def __init__(self, path: Path, offset: int, env: Mapping[str, str] | None = None) -> None:
        """`env`: variables of all commands, each of which runs in a process of its own then."""
        self.path, self.offset, self.env = path, offset, env
        self._extensions: set[str] = set()

    def port(self, server: int = 1) -> int:
        """Where that server listens."""
        return _PORTS[0] + self.offset + server - 1

    def admin_port(self) -> int:
        """Where the web admin listens."""
        return _PORTS[-1] + self.offset

    def directory(self, server: int = 1) -> Path:
        """PATH/server1, …"""
        return self.path / f'server{server}'

    # -- commands

    def run(self, *args: str, env: Mapping[str, str] | None = None) -> Said:
        """`zatotx ARGS`, whatever its exit code: in this process, which saves it the imports. Not what starts servers,
        which would be our children, and not in a thread: what is printed is redirected for all of them."""
        if self.env is not None:
            return apart(*args, env={**self.env, **(env or {})})
        here = args[0] not in _STARTING and threading.current_thread() is threading.main_thread()
        return zatotx(*args, env=env) if here else apart(*args, env=env)

    def must(self, *args: str, env: Mapping[str, str] | None = None) -> str:
        """`zatotx ARGS`, which must succeed: what it printed."""
        said = self.run(*args, env=env)
        if said.code:
            raise AssertionError(f'zatotx {" ".join(args)} ended with {said.code}: {said.text}')
        return said.out

    def start(self) -> None:
        """Until every part answers."""
        self.must('start', str(self.path))

    def stop(self) -> None:
        """Until every part is gone."""
        self.must('stop', str(self.path))

    def deploy(self, *files: Path) -> Said:
        """`zatotx hot-deploy`, whatever its exit code."""
        return self.run('hot-deploy', str(self.path), *map(str, files))

    def serve(self, name: str, source: str) -> None:
        """Deploy a module of that name, which must be taken."""
        said = self.deploy(self.write(name, source))
        if said.code:
            raise AssertionError(f'{name} was refused: {said.text}')

    def imported(self, document: str, *options: str) -> Said:
        """`zatotx enmasse --import` of that YAML, whatever its exit code."""
        file = self.write('import.yaml', document)
        return self.run('enmasse', str(self.path), '--import', '--input', str(file), *options)

    def extend(self, name: str, extension: Callable[[Broker], None]) -> Broker:
        """Call `extension` with this environment, unless that was done under this name: a module adds its services and
        objects to an environment that it shares with others."""
        if name not in self._extensions:
            extension(self)
            self._extensions.add(name)
        return self

    def configure(self, document: str, *options: str) -> None:
        """Import that YAML, which must be taken."""
        said = self.imported(document, *options)
        if said.code:
            raise AssertionError(f'The import was refused: {said.text}')

    def write(self, name: str, text: str) -> Path:
        """A file beside the environment."""
        folder = self.path.parent / 'input'
        folder.mkdir(exist_ok=True)
        file = folder / name
        file.write_text(dedent(text), 'utf-8')
        return file

    # -- requests

    def ask(self, method: str, target: str, *, fields: Mapping[str, str] | None = None, body: bytes = b'',
            server: int = 1) -> Answer:
        """One request on a connection of its own."""
        return ask(self.port(server), method, target, fields=fields, body=body)

    def invoke(self, service: str, body: bytes = b'{}', *, server: int = 1) -> Answer:
        """Through /zato/api/invoke with the administrator's credentials."""
        return self.ask('POST', f'/zato/api/invoke/{service}', fields=self.admin(), body=body, server=server)

    def credentials(self) -> dict[str, dict[str, str]]:
        """credentials.toml."""
        return tomllib.loads((self.path / 'credentials.toml').read_text('utf-8'))

    def admin(self) -> dict[str, str]:
        """The Authorization field of admin.invoke."""
        api = self.credentials()['api']
        return basic(api['username'], api['password'])

    def pubapi(self) -> dict[str, str]:
        """The Authorization field of pubapi."""
        public = self.credentials()['pubapi']
        return basic(public['username'], public['password'])

    def until_recovered(self, *servers: int) -> None:
        """Wait until these servers have Redis and the ODB again, which a test took away: the next test needs both."""
        def recovered(server: int) -> bool:
            text = self.ask('GET', '/zato/metrics', fields=self.admin(), server=server).body
            return b'\nzatotx_redis_up 1' in text and b'\nzatotx_odb_up 1' in text

        for server in servers:
            until(partial(recovered, server), f'Redis and the ODB of server{server}')

    # -- files and processes

    def log(self, server: int = 1, name: str = '') -> str:
        """All logs of a server, or one."""
        files = sorted((self.directory(server) / 'logs').glob(name or '*'))
        return ''.join(file.read_text('utf-8', errors='replace') for file in files if file.is_file())

    def logged(self, *parts: str, server: int = 1, within: float = 60.0) -> str:
        """The first log line that holds all of these parts, once it is there."""
        return until(lambda: _line_with(self.log(server), parts), f'a log line with {parts}', within)

    def set(self, section: str, server: int = 1, **values: object) -> None:
        """Set keys of server.toml; the server reads them when it starts."""
        file = self.directory(server) / 'config' / 'server.toml'
        document = tomllib.loads(file.read_text('utf-8'))
        document.setdefault(section, {}).update(values)
        file.write_text(_toml(document), 'utf-8')

    def pids(self, part: str = 'server1') -> list[int]:
        """The processes of a part, by the directory in their command lines."""
        directory = str(self.path / part)
        return [pid for pid in _all_pids() if directory in _command_line(pid) and pid != os.getpid()]

    def kill(self, part: str = 'server1') -> None:
        """kill -9 of all processes of a part ('': all parts), until they are gone."""
        def gone() -> bool:
            found = self.pids(part)
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not found

        until(gone, f'the end of {part or self.path}')


def _line_with(text: str, parts: tuple[str, ...]) -> str:
    return next((line for line in text.splitlines() if all(part in line for part in parts)), '')


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path('/proc').iterdir() if entry.name.isdigit()]


def _command_line(pid: int) -> str:
    """The arguments of a process; '' if it has ended."""
    try:
        with open(f'/proc/{pid}/cmdline', 'rb') as file:  # noqa: PTH123 - a third of the time, for hundreds of them
            return file.read().replace(b'\0', b' ').decode('utf-8', 'replace')
    except OSError:
        return ''


def _toml(document: Mapping[str, Mapping[str, object]]) -> str:
    """TOML of sections whose values JSON writes alike: text, numbers, booleans, lists."""
    lines = []
    for section, values in document.items():
        lines += [f'[{section}]', *(f'{key} = {json.dumps(value)}' for key, value in values.items()), '']
    return '\n'.join(lines)


_OFFSETS = range(1000, 12_000, 60)  # 20151, the highest default port, stays below 32768


def free_offset() -> int:
    """A port offset at which every default port is free now, and that no other test process and no environment of
    `create` has, which may be stopped now. Below the ports that the kernel gives to clients: one of those may be free
    now and somebody's when the server comes to it."""
    taken = {broker.offset for broker in _shared.made}
    for offset in _OFFSETS:
        if offset not in taken and claim(str(offset)) and all(is_free(port + offset) for port in _PORTS):
            return offset
    raise AssertionError('No port offset is free')


_templates: dict[tuple[str, ...], Path] = {}


def quickstart(path: Path, *options: object) -> None:
    """`zatotx quickstart create PATH OPTIONS`, which must succeed: executed once for the same options, and copied. The
    copies have one secret key and the same passwords, and no connectors, load balancer and web admin unless the
    options say so."""
    words = tuple(map(str, options))
    if '--connectors' not in words:
        words = ('--connectors', '0', *words)
    if '--load-balancer' not in words:
        words = ('--no-load-balancer', *words)
    if '--web-admin' not in words:
        words = ('--no-web-admin', *words)
    if words not in _templates:
        directory = tempfile.mkdtemp(prefix='zatotx-test-template-')
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        said = zatotx('quickstart', 'create', Path(directory) / 'qs', *words)
        if said.code:
            raise AssertionError(f'quickstart create ended with {said.code}: {said.text}')
        _templates[words] = Path(directory) / 'qs'
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(_templates[words], path, symlinks=True)


def create(*, servers: int = 1, more: Sequence[str] = (), env: Mapping[str, str] | None = None,
           parts: Sequence[str] = ()) -> Broker:  # fmt: skip
    """A fresh environment, not started. `more`: options of quickstart; `env`: see Broker. `remove` ends it.

    `parts`: its components besides servers and Redis: `load-balancer`, `connector1`, `web-admin`. Each takes a second
    of CPU time.
    """
    offset = free_offset()
    broker = Broker(Path(tempfile.mkdtemp(prefix='zatotx-test-')) / 'qs', offset, env)
    _shared.made.append(broker)
    balancer = '--load-balancer' if 'load-balancer' in parts else '--no-load-balancer'
    admin = '--web-admin' if 'web-admin' in parts else '--no-web-admin'
    connectors = sum(part.startswith('connector') for part in parts)
    words = ('--servers', str(servers), '--port-offset', str(offset), balancer, admin,
             '--connectors', str(connectors), *more)  # fmt: skip
    broker.must('quickstart', 'create', str(broker.path), *words)
    return broker


def remove(broker: Broker) -> None:
    """Kill what runs, which takes a fraction of the time of a stop, and delete the directory."""
    if broker in _shared.made:
        _shared.made.remove(broker)
    broker.kill('')
    shutil.rmtree(broker.path.parent, ignore_errors=True)


class _Shared:
    made: list[Broker] = []  # all that `create` made and nobody removed
    running: dict[str, Broker] = {}  # by key, the least recently used one first
    failures: dict[str, Exception] = {}  # why the environment of a key could not be built
    builders: dict[str, tuple[str, str]] = {}  # module and name of the function that builds the environment of a key


_shared = _Shared()


def shared(key: str, build: Callable[[], Broker]) -> Broker:
    """The running environment of that key, made by `build` at the first time. Two are kept; a third one replaces the
    one that was used least recently. One that could not be built is not tried again by the next test.
    A key belongs to one function."""
    function = getattr(build, 'func', build)  # of a partial
    builder = function.__module__, function.__qualname__
    if _shared.builders.setdefault(key, builder) != builder:
        raise AssertionError(f'The environment {key!r} is built by {_shared.builders[key]} and by {builder}')
    if key in _shared.failures:
        raise AssertionError(f'The environment {key!r} could not be built') from _shared.failures[key]
    broker = _shared.running.pop(key, None)
    if broker is None:
        while len(_shared.running) >= MAX_SHARED:
            remove(_shared.running.pop(next(iter(_shared.running))))
        before = tuple(_shared.made)
        try:
            broker = build()
        except Exception as error:
            _shared.failures[key] = error
            for incomplete in (each for each in tuple(_shared.made) if each not in before):
                remove(incomplete)
            raise AssertionError(f'The environment {key!r} could not be built: {error}') from error
    _shared.running[key] = broker
    return broker


def end_shared() -> None:
    """End the shared environments, and what is left of one that could not be built; the next test that asks gets a
    fresh one."""
    for broker in tuple(_shared.made):
        remove(broker)
    _shared.running.clear()
    _shared.failures.clear()


atexit.register(end_shared)
