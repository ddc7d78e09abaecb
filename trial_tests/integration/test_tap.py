"""The service that twistd runs: pid file, error messages at the start, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import Clock
from twisted.plugin import IPlugin, getPlugins
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from trial_tests.support.reactor import as_reactor
from zatotx.connectors.kind_registry import InstalledKind, find_kinds
from zatotx.model.errors import ServiceUnavailable, StartError
from zatotx.node.settings import Kvdb, Main, Odb, Settings
from zatotx.odb.secrets import Secrets, new_key
from zatotx.tap import component_service, server
from zatotx.tap import component_service as root
from zatotx.tap.build_connections import decrypt_urls, load_decrypted_settings, make_connection_namespaces

TWISTD = str(Path(sys.executable).with_name('twistd'))
FAILS_LATER = """
import sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.application.service import Service
from zatotx.model.errors import StartError
from zatotx.tap.component_service import ComponentService
from pathlib import Path

class Part(Service):
    def startService(self):
        return deferLater(reactor, 0.01).addCallback(self.fail)

    def fail(self, _):
        raise {error}

    def stopService(self):
        print('stopped in order', flush=True)

root = ComponentService(Part(), Path(sys.argv[1]), reactor)
reactor.addSystemEventTrigger('before', 'shutdown', root.stopService)
root.privilegedStartService()
root.startService()
reactor.run()
print('never said')
"""


class Reactor(Clock):
    """A Clock that records the calls of IReactorCore methods."""

    def __init__(self) -> None:
        super().__init__()
        self.stops = 0
        self.stopped = False
        self.when_running: list[tuple[Any, ...]] = []
        self.triggers: list[tuple[Any, ...]] = []

    def callWhenRunning(self, *call: Any) -> None:
        self.when_running.append(call)

    def addSystemEventTrigger(self, *trigger: Any) -> None:
        self.triggers.append(trigger)

    def callFromThread(self, function: Any, *args: Any) -> None:
        function(*args)

    def stop(self) -> None:
        self.stops += 1
        if self.stopped:
            raise ReactorNotRunning
        self.stopped = True


class Part(Service):
    """A component whose start methods return the given results."""

    def __init__(self, privileged: object = None, start: object = None) -> None:
        self.results = {'privileged': privileged, 'start': start}
        self.stopping: Deferred[None] = Deferred()

    def result(self, step: str) -> Any:
        result = self.results[step]
        if isinstance(result, Exception):
            raise result
        return result

    def privilegedStartService(self) -> Any:
        return self.result('privileged')

    def startService(self) -> Any:
        return self.result('start')

    def stopService(self) -> Deferred[None]:
        return self.stopping


class ComponentServiceTests(SynchronousTestCase):
    """The lifecycle of a component's service."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.pid_file = self.directory / 'server.pid'
        self.reactor = Reactor()
        self.said: list[str] = []
        self.patch(root, 'print_error', self.said.append)
        self.patch(component_service, 'print_error', self.said.append)

    def root(self, part: Part) -> root.ComponentService:
        return root.ComponentService(part, self.pid_file, as_reactor(self.reactor))

    def test_pid_file(self) -> None:
        """The pid file exists while the component runs, and is removed when it has stopped."""
        part = Part()
        service = self.root(part)
        service.privilegedStartService()
        service.startService()
        self.assertEqual(self.pid_file.read_text(), f'{os.getpid()}\n')
        stopped = service.stopService()
        self.assertNoResult(stopped)
        self.assertTrue(self.pid_file.exists())
        part.stopping.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(list(self.directory.iterdir()), [])

    def test_pid_file_of_somebody_else(self) -> None:
        """A pid file that another process has written is kept; a missing one is not an error."""
        for change in (lambda: self.pid_file.write_text('1\n'), self.pid_file.unlink):
            part = Part()
            service = self.root(part)
            service.startService()
            change()
            part.stopping.callback(None)
            self.successResultOf(service.stopService())
        self.assertFalse(self.pid_file.exists())

    def test_failing_at_once(self) -> None:
        """An error in either start method is printed, ends the process with code 1, and leaves no pid file."""
        for part in (Part(privileged=StartError('the port is taken')), Part(start=StartError('the port is taken'))):
            service = self.root(part)

            def start(service: root.ComponentService = service) -> None:
                service.privilegedStartService()
                service.startService()

            self.assertEqual(self.assertRaises(SystemExit, start).code, 1)
            self.assertFalse(self.pid_file.exists())
        self.assertEqual(self.said, ['the port is taken'] * 2)

    def test_failing_later(self) -> None:
        """The error is printed, the reactor is stopped, and the process will exit with code 1."""
        for part in (Part(privileged=fail(StartError('no database'))), Part(start=fail(StartError('no database')))):
            self.reactor, self.said[:] = Reactor(), []
            service = self.root(part)
            service.privilegedStartService()
            service.startService()
            self.assertEqual(self.said, ['no database'])
            self.assertEqual(self.reactor.triggers, [('after', 'shutdown', component_service._exit, 1)])
            function, *args = self.reactor.when_running[0]
            function(*args)
            self.assertEqual(self.reactor.stops, 1)

    def test_failing_unexpectedly(self) -> None:
        """The message names the component, and the log has the traceback."""
        self.root(Part(start=fail(ZeroDivisionError('by zero')))).startService()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.said, [f'{self.directory.name} cannot start: by zero'])

    def test_a_start_that_is_cut_short(self) -> None:
        """Stopping a component while it starts is not reported as a failed start."""
        starting: Deferred[None] = Deferred()
        service = self.root(Part(start=starting))
        service.startService()
        service.stopService()
        starting.errback(StartError('stopped'))
        self.assertEqual((self.said, self.reactor.triggers), ([], []))

    def test_a_pid_file_that_cannot_be_written(self) -> None:
        """The message contains the operating system's reason and the path."""
        self.directory.rmdir()
        self.assertRaises(SystemExit, self.root(Part()).startService)
        self.assertIn(f'No such file or directory: {self.directory}', self.said[0])


class OptionsTests(SynchronousTestCase):
    """The --dir option, and twistd's own options."""

    def test_no_directory(self) -> None:
        """A missing --dir is wrong usage."""
        self.assertRaises(usage.UsageError, server.Options().parseOptions, [])

    def test_a_directory_that_is_none_of_ours(self) -> None:
        """A directory that is not a component, or does not exist, gives one sentence and exit code 1."""
        for directory in (self.mktemp(), '/'):
            command = [TWISTD, '-n', 'zato-server', '--dir', directory]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (1, 1), done)
            self.assertIn('is not a component of an environment', done.stderr)

    def test_twistds_own_pid_file(self) -> None:
        """twistd's default pid file is disabled, because components would collide in the current directory; an explicit
        one is kept."""
        for given, expected in (('twistd.pid', ''), ('/run/mine.pid', '/run/mine.pid')):
            parent = {'pidfile': given}
            options = server.Options()
            options.parent = parent  # type: ignore[assignment]
            options.parseOptions(['--dir', '/x'])
            self.assertEqual(parent['pidfile'], expected)

    def test_the_plugins_are_found(self) -> None:
        """twistd finds the plugins."""
        found = {plugin.tapname for plugin in getPlugins(IPlugin) if hasattr(plugin, 'tapname')}
        self.assertTrue({'zato-server', 'zato-redis'} <= found, found)

    def test_a_part_is_wrapped(self) -> None:
        """Errors of the build function end the process; its result is wrapped in a ComponentService."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        (directory / '.zato-info').write_text('{}')
        said: list[str] = []
        self.patch(root, 'print_error', said.append)
        options = server.Options()
        options.parseOptions(['--dir', str(directory)])

        def broken(_directory: str, _reactor: Any) -> Any:
            raise StartError('broken by design')

        self.assertRaises(SystemExit, root.make_component_service, options, broken, 'x.pid')
        self.assertEqual(said, ['broken by design'])
        made = root.make_component_service(options, lambda given, _: Part(), 'x.pid')
        self.assertTrue(verifyObject(IService, made))


class ExitTests(SynchronousTestCase):
    """The exit of a process."""

    def test_a_start_that_fails_later(self) -> None:
        """The services stop in order, the sentence is the last line of stderr, the exit code is 1."""
        for error, sentence in (('StartError("no\\n luck")', 'no luck'), ('KeyError("x")', "cannot start: 'x'")):
            program = FAILS_LATER.format(error=error)
            path = Path(self.mktemp()).absolute()
            path.mkdir()
            done = subprocess.run([sys.executable, '-c', program, str(path / 'x.pid')], capture_output=True, text=True,
                                  check=False, timeout=60)
            self.assertEqual((done.returncode, done.stdout), (1, 'stopped in order\n'), done)
            self.assertTrue(done.stderr.splitlines()[-1].endswith(sentence), done.stderr)
            self.assertEqual(list(path.iterdir()), [])

    def test_sigterm_stops_the_reactor(self) -> None:
        """The reactor is stopped once, even if the signal arrives repeatedly."""
        self.addCleanup(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        reactor = Reactor()
        component_service.exit_cleanly_on_sigterm(as_reactor(reactor))
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        self.assertEqual((reactor.stopped, reactor.stops), (True, 2))

    def test_sentences(self) -> None:
        """The message of an operating system error contains its reason and its file."""
        self.assertEqual(
            component_service.user_error_message(PermissionError(13, 'Permission denied', '/x')),
            'Permission denied: /x',
        )
        self.assertEqual(component_service.user_error_message(OSError(5, 'I/O error')), 'I/O error')
        self.assertEqual(component_service.user_error_message(ValueError()), 'ValueError')


class DecryptSettingsTests(SynchronousTestCase):
    """Encrypted values in settings."""

    def settings(self, url: str) -> Settings:
        return Settings(main=Main(name='a', cluster='b'), odb=Odb(url='sqlite:///x'), kvdb=Kvdb(url=url, timeout=3))

    def test_urls(self) -> None:
        """Encrypted URLs are decrypted; all other settings are unchanged."""
        key = new_key()
        stored = self.settings(Secrets(key).encrypt('redis://:p@h:1'))
        self.assertEqual(decrypt_urls(stored, key), self.settings('redis://:p@h:1'))
        plain = self.settings('redis://h:1')
        self.assertEqual(decrypt_urls(plain, 'no key'), plain)

    def test_a_rotation_between_two_looks(self) -> None:
        """If the key is rotated while the settings are read, they are read once more."""
        key = new_key()
        stored = iter([self.settings(Secrets(new_key()).encrypt('redis://:p@h:1')),
                       self.settings(Secrets(key).encrypt('redis://:p@h:1'))])
        self.assertEqual(load_decrypted_settings(lambda: next(stored), lambda: key), self.settings('redis://:p@h:1'))
        wrong = self.settings(Secrets(new_key()).encrypt('redis://:p@h:1'))
        self.assertRaises(StartError, load_decrypted_settings, lambda: wrong, lambda: key)

    def test_another_key(self) -> None:
        """The error names the setting and says how to encrypt it again."""
        stored = self.settings(Secrets(new_key()).encrypt('redis://:p@h:1'))
        for key in (new_key(), 'no key'):
            error = self.assertRaises(StartError, decrypt_urls, stored, key)
            self.assertIn('kvdb.url', str(error))
            self.assertIn('zatotx encrypt', str(error))


class DisabledKindTests(SynchronousTestCase):
    def test_ping(self) -> None:
        """The ping of a connection whose kind is disabled says what to install."""
        (found,) = [each for each in find_kinds() if each.kind.name == 'ibm_mq']
        outgoing = make_connection_namespaces(
            [], [InstalledKind(kind=found.kind, missing_reason='IBM MQ needs pymqi: install it')]
        )
        error = self.failureResultOf(outgoing.ping('outgoing_ibm_mq', 'Orders'), ServiceUnavailable).value
        self.assertEqual(str(error), 'Orders cannot be used: IBM MQ needs pymqi: install it')
