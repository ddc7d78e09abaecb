"""Pid files: which process they name, and that processes of other programs are never signalled."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.waiting import until
from zatotx.cli.environment.component_types import SERVER
from zatotx.cli.environment.environment_layout import Component
from zatotx.cli.environment.process_control import stop_components
from zatotx.cli.environment.process_discovery import (
    ComponentProcess,
    describe_process,
    directory_option,
    find_port_owner,
    is_listening_on_port,
    is_port_free,
    is_process_of_component,
    listening_inodes,
    running_process,
)
from zatotx.processes.workers.process_identity import process_start_time

SLEEP = 'import sys; sys.stdin.read()'
STUBBORN = 'import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); sys.stdin.read()'
SETTINGS = '[shutdown]\ngrace = %s\n[http]\nlisten = ["tcp:1:interface=127.0.0.1"]\n'


class PidTests(SynchronousTestCase):
    """running_process() finds the live process of a component and no other."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        (self.path / 'config').mkdir(parents=True)
        (self.path / 'logs').mkdir()
        (self.path / 'config' / 'server.toml').write_text(SETTINGS % 0.1)
        self.part = Component(SERVER, self.path)

    def process(self, *words: str, program: str = SLEEP) -> subprocess.Popen[bytes]:
        """Start a process with these words in its command line; it ends with the test."""
        command = [sys.executable, '-c', program, *words]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(end, process)
        return process

    def named(self, pid: object) -> None:
        self.part.pid_file.write_text(f'{pid}\n')

    def test_the_process_of_the_part(self) -> None:
        """The process has the plugin's name and the component's directory in its command line, in any form."""
        forms = [('--dir', str(self.path)), (f'--dir={self.path}',), ('-d', os.path.relpath(self.path))]
        for words in forms:
            process = self.process('zato-server', *words)
            self.named(process.pid)
            until(lambda: running_process(self.part) is not None, f'{words}')
            found = running_process(self.part)
            assert found is not None
            self.assertEqual(found.pid, process.pid)
            end(process)
            self.assertIsNone(running_process(self.part))

    def test_no_pid_file_and_nonsense_in_it(self) -> None:
        """A missing or invalid pid file means that the component is stopped."""
        self.assertIsNone(running_process(self.part))
        for text in ('', 'x', '-1', '0', '99999999999999999999'):
            self.named(text)
            self.assertIsNone(running_process(self.part), text)

    def test_processes_of_others(self) -> None:
        """Processes of other programs, components or environments make the pid file stale."""
        others = [(), ('zato-server', '--dir', f'{self.path}2'), ('zato-redis', '--dir', str(self.path)),
                  ('zato-server',), ('zato-server', '--dir'), (str(self.path),)]
        for words in others:
            self.named(self.process(*words).pid)
            self.assertIsNone(running_process(self.part), words)
        self.named(1)
        self.assertIsNone(running_process(self.part))

    def test_a_stranger_is_never_signalled(self) -> None:
        """`stop` with a pid file that names another program's process leaves that process alone."""
        stranger = self.process('zato-server', '--dir', '/somewhere/else')
        self.named(stranger.pid)
        self.assertEqual(stop_components([self.part]), [])
        self.assertIsNone(stranger.poll())

    def test_a_pid_that_was_given_to_another_process(self) -> None:
        """A process is identified by pid and start time, so that another process with the same pid is not signalled."""
        successor = self.process()
        was = ComponentProcess(successor.pid, '1')
        self.assertFalse(was.is_alive())
        was.send(signal.SIGKILL)
        self.assertTrue(was.ended_within(0))
        self.assertIsNone(successor.poll())

    def test_a_process_that_only_awaits_its_parent_has_ended(self) -> None:
        """A zombie counts as ended."""
        process = self.process()
        process.kill()
        until(lambda: not process_start_time(process.pid), 'the end')
        self.assertFalse(is_process_of_component(process.pid, self.part))

    def test_stop_says_when_it_had_to_kill(self) -> None:
        """A process that does not end within its grace period and a margin after SIGTERM is killed and reported."""
        stubborn = self.process('zato-server', '--dir', str(self.path), program=STUBBORN)
        assert stubborn.stdout is not None
        stubborn.stdout.readline()
        self.named(stubborn.pid)
        self.patch(sys.modules['zatotx.cli.environment.process_control'], 'MARGIN', 0.3)
        faults = stop_components([self.part])
        self.assertEqual(len(faults), 1)
        self.assertIn('did not end within 0.4 s of SIGTERM and was killed', faults[0])
        self.assertEqual(stubborn.wait(60), -signal.SIGKILL)
        self.assertFalse(self.part.pid_file.exists())

    def test_whose_a_process_is(self) -> None:
        """A component is described with its environment; any other program by its name."""
        server = self.process('zato-server', '--dir', str(self.path))
        until(lambda: describe_process(server.pid) == f'{self.path.name} of {self.path.parent} (process {server.pid})',
              'the command line of the process')  # fmt: skip
        other = self.process('--dir', str(self.path))
        self.assertRegex(describe_process(other.pid), rf'\Aprocess {other.pid} \(python[0-9.]*\)\Z')
        self.assertEqual(describe_process(2**22 - 1), f'process {2**22 - 1}')

    def test_the_option_in_a_command_line(self) -> None:
        """--dir is absent, last, or followed by its value."""
        self.assertEqual(directory_option(['twistd', '--dir', '/a', '-x']), '/a')
        for words in ([], ['--dir'], ['--directory', '/a']):
            self.assertEqual(directory_option(words), '')


class PortTests(SynchronousTestCase):
    """The processes that listen on ports."""

    def test_a_listener(self) -> None:
        """The port of a listener is not free, and its owner is found."""
        for host, family in (('127.0.0.1', socket.AF_INET), ('::1', socket.AF_INET6)):
            with socket.socket(family) as listener:
                listener.bind((host, 0))
                port = listener.getsockname()[1]
                self.assertEqual(listening_inodes(port), [])
                listener.listen()
                self.assertFalse(is_port_free(host, port))
                self.assertTrue(is_listening_on_port(os.getpid(), port))
                self.assertEqual(find_port_owner(port), os.getpid())
            self.assertTrue(is_port_free(host, port))
            self.assertFalse(is_listening_on_port(os.getpid(), port))
            self.assertIsNone(find_port_owner(port))

    def test_processes_that_are_gone_hold_nothing(self) -> None:
        """Checking a process that has ended is not an error."""
        self.assertFalse(is_listening_on_port(2**22 - 1, 17010))


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(60)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
