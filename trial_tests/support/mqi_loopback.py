"""The loopback queue manager for tests: pymqi built against its client library, and queue managers as processes.

`install()` makes pymqi importable, in this process and in those that it starts. It builds what is needed once for each
state of the sources, below the virtual environment. A pymqi that was installed against the loopback is used as it is.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import hashlib
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trial_tests.peers.mqi_loopback import build
from trial_tests.peers.mqi_loopback.messages import LENGTH_1
from trial_tests.support.daemon import Daemon, sweep

ROOT = Path(__file__).resolve().parents[2]
QMGR = build.SOURCES / 'qmgr.py'
DIRECTORY = 'MQI_LOOPBACK_DIR'  # the environment variable that tells the client library where the sockets are
USER, PASSWORD = 'app', 'mq-sEcReT'
CHANNEL, QUEUE_MANAGER, QUEUE, BACKOUT_QUEUE = 'DEV.APP.SVRCONN', 'QM1', 'DEV.QUEUE.1', 'DEV.BACKOUT'


@cache
def install() -> None:
    """Make `import pymqi` work, against the loopback. Blocks while it builds: some ten seconds, the first time."""
    if DIRECTORY not in os.environ:
        os.environ[DIRECTORY] = str(_socket_directory())
    if _is_installed():
        return
    folder = str(_built() / 'python')
    sys.path.insert(0, folder)
    os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, [folder, os.environ.get('PYTHONPATH', '')]))


def python_path() -> Path:
    """Return the directory with pymqi, after `install`."""
    install()
    spec = find_spec('pymqi')
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent.parent


def _is_installed() -> bool:
    """Whether the environment has a pymqi that is linked to the loopback."""
    spec = find_spec('pymqi')
    if spec is None or spec.origin is None:
        return False
    extension = next(Path(spec.origin).parent.glob('pymqe*.so'), None)
    with suppress(OSError, ValueError):
        ctypes.c_char_p.in_dll(ctypes.CDLL(str(extension)), 'mqi_loopback_version')
        return True
    return False


def _built() -> Path:
    files = sorted(path for path in build.SOURCES.rglob('*') if path.suffix in {'.c', '.h'})
    digest = hashlib.sha256(f'{sys.version}{sys.prefix}{build.pinned_pymqi()}'.encode())
    for path in (*files, Path(build.__file__)):
        digest.update(path.read_bytes())
    parent = Path(sys.prefix, 'mqi-loopback')
    if not os.access(sys.prefix, os.W_OK):
        parent = Path(tempfile.gettempdir(), f'zatotx-mqi-loopback-{os.getuid()}')
    parent.mkdir(exist_ok=True)
    directory = parent / digest.hexdigest()[:16]
    with (parent / 'lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / 'complete').exists():
            shutil.rmtree(directory, ignore_errors=True)
            build.build_library(directory)
            build.build_pymqi(directory, build.pinned_pymqi())
            (directory / 'complete').touch()
    return directory


def _socket_directory() -> Path:
    sweep('mqi')
    directory = Path(tempfile.mkdtemp(prefix=f'zatotx-mqi-{os.getpid()}-'))
    directory.chmod(0o777)
    return directory


class LoopbackQueueManager(Daemon):
    """A queue manager with the queues DEV.QUEUE.1, whose back-out queue is DEV.BACKOUT, and DEV.QUEUE.2. Its port is a
    name: clients reach it by a Unix socket."""

    what = 'mqi-loopback'
    account = 'root'

    def __init__(self, name: str = QUEUE_MANAGER) -> None:
        install()
        super().__init__()
        self.name = name
        self._is_defined = False

    @property
    def is_running(self) -> bool:
        """Whether its process runs, frozen or not."""
        return self._process is not None and self._process.poll() is None

    def command(self) -> list[str]:
        return [sys.executable, str(QMGR), '--name', self.name, '--directory', os.environ[DIRECTORY],
                '--port', str(self.port), '--store', str(self.directory / 'store.sqlite')]  # fmt: skip

    def answers(self) -> bool:
        try:
            self.control('state')
        except OSError:
            return False
        self.control('configure', users={USER: PASSWORD})
        if not self._is_defined:
            self._is_defined = True
            self.define(QUEUE, backout_threshold=3, backout_queue=BACKOUT_QUEUE)
            self.define(BACKOUT_QUEUE)
            self.define('DEV.QUEUE.2')
        return True

    def control(self, do: str, **arguments: Any) -> Any:
        """Carry out a command: see control.py of the peer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(120)
            connection.connect(f'{os.environ[DIRECTORY]}/{self.port}.control')
            connection.sendall(json.dumps({'do': do, **arguments}).encode() + b'\n')
            with connection.makefile('rb') as file:
                return json.loads(file.readline())

    def define(self, queue: str, **attributes: Any) -> None:
        """Make a queue, or change its attributes."""
        self.control('define', name=queue, attributes=attributes)

    def fault(self, call: str, reason: int, **fields: Any) -> None:
        """Make the next call end with a reason code."""
        self.control('fault', call=call, reason=reason, **fields)

    def put(self, data: bytes, queue: str = QUEUE, **fields: int | bytes) -> None:
        """Put a message past the client library. `fields`: of the message descriptor, by their names in
        `descriptor`."""
        self.control('put', queue=queue, data=data.hex(), descriptor=descriptor(fields).hex())

    def fill(self, count: int, data: bytes, queue: str = QUEUE, **fields: int | bytes) -> None:
        """Put many messages of the same content. Blocks while the queue manager does so."""
        self.control('fill', queue=queue, data=data.hex(), descriptor=descriptor(fields).hex(), count=count)

    def browse(self, queue: str = QUEUE) -> list[bytes]:
        """Return the data of the messages on a queue that are not in a unit of work."""
        return [bytes.fromhex(one['data']) for one in self.control('browse', queue=queue)]

    def depth(self, queue: str = QUEUE) -> int:
        """Return the depth of a queue, units of work included."""
        depth: int = self.control('state')['queues'][queue]['depth']
        return depth


def descriptor(fields: Mapping[str, int | bytes]) -> bytes:
    """Return an MQMD of version 1."""
    import struct

    given: dict[str, Any] = {
        'report': 0, 'type': 8, 'expiry': -1, 'feedback': 0, 'encoding': 546, 'ccsid': 1208, 'format': b'MQSTR   ',
        'priority': 4, 'persistence': 1, 'msg_id': b'', 'correl_id': b'', 'reply_to_queue': b'',
        **fields,
    }  # fmt: skip
    head = struct.pack(
        '=4siiiiiii8sii24s24si48s48s', b'MD  ', 1, given['report'], given['type'], given['expiry'], given['feedback'],
        given['encoding'], given['ccsid'], given['format'], given['priority'], given['persistence'], given['msg_id'],
        given['correl_id'], 0, given['reply_to_queue'], b'',
    )  # fmt: skip
    return head.ljust(LENGTH_1, b'\0')


@cache
def shared() -> LoopbackQueueManager:
    """Return a queue manager that runs until the test process ends. Tests use queues of their own."""
    return _started()


@cache
def _disposable() -> LoopbackQueueManager:
    return _started()


def disposable() -> LoopbackQueueManager:
    """Return another one, which tests may kill, freeze and configure: it runs again, as new but for its queues."""
    qmgr = _disposable()
    if not qmgr.is_running:
        qmgr.start()
    qmgr.thaw()
    qmgr.control('reset')
    qmgr.answers()
    return qmgr


def _started() -> LoopbackQueueManager:
    qmgr = LoopbackQueueManager()
    qmgr.start()
    atexit.register(qmgr.close)
    return qmgr
