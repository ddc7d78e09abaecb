"""A real server for tests, from a Debian package: an unprivileged process on a free port, in a directory of its own.

It dies with the test process, however that ends, and the next one removes what such an end left behind.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from trial_tests.support.ports import free_port
from trial_tests.support.waiting import until

STARTED = 60.0  # seconds: the machine may be busy


class Daemon:
    """One server. Subclasses say how it is made and run."""

    what = ''  # its name in directories and messages
    account = 'nobody'  # who runs it where the tests run as root
    death = 'KILL'  # the signal it gets when the test process is gone

    def __init__(self) -> None:
        sweep(self.what)
        self.directory = Path(tempfile.mkdtemp(prefix=f'zatotx-{self.what}-{os.getpid()}-'))
        self.log = self.directory / 'log'
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            shutil.chown(self.directory, self.account)

    # -- for subclasses

    def command(self) -> Sequence[str]:
        """What runs the server in the foreground."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it takes commands."""
        raise NotImplementedError

    def once(self, *command: str) -> None:
        """Run something as the server's account, to its end. What it says stands in the log."""
        with self.log.open('ab') as log:
            done = subprocess.run(
                [*self._as_account(), *command],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
                timeout=STARTED * 2,
            )
        if done.returncode:
            raise AssertionError(f'{command[0]} ended with {done.returncode}: {self.log.read_text("utf-8", "replace")}')

    # -- for tests

    def start(self, *prefix: str) -> None:
        """Blocks until it answers. `prefix`: a command that runs it with less, as `prlimit --fsize=…`."""
        with self.log.open('ab') as log:
            self._process = subprocess.Popen(
                [*self._as_account(), *prefix, *self.command()],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._is_up, f'the start of {self.what}', STARTED)

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f'{self.what} did not start: {self.log.read_text("utf-8", "replace")[-2000:]}')
        return self.answers()

    def pids(self) -> list[int]:
        """Of all its processes, the first one first."""
        assert self._process is not None
        found, left = [], [self._process.pid]
        while left:
            pid = left.pop(0)
            found.append(pid)
            left += _children(pid)
        return found

    def freeze(self) -> None:
        """It takes connections, as its kernel does, and says nothing from now on."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids():
            with suppress(ProcessLookupError):  # a child that ended meanwhile: a connection that is over
                os.kill(pid, number)

    def kill(self) -> None:
        """kill -9 of all of it. Harmless where it does not run."""
        if self._process is not None and self._process.poll() is None:
            for pid in self.pids():
                with suppress(ProcessLookupError):  # a child that ends by itself, now that its parent is gone
                    os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it and remove what it left."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _as_account(self) -> list[str]:
        words = ['setpriv', '--pdeathsig', self.death]
        if os.geteuid() == 0:
            group = str(pwd.getpwnam(self.account).pw_gid)
            words += ['--reuid', self.account, '--regid', group, '--clear-groups']
        return words


def sweep(what: str) -> None:
    """Remove the directories of test processes that are gone."""
    prefix = f'zatotx-{what}-'
    for left in Path(tempfile.gettempdir()).glob(f'{prefix}*'):
        owner = left.name.removeprefix(prefix).split('-')[0]
        if owner.isdigit() and not Path('/proc', owner).exists():
            shutil.rmtree(left, ignore_errors=True)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]
    except OSError:
        return []
