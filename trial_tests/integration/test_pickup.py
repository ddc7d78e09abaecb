"""The pickup directory on the real file system, with and without inotify."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from twisted.internet import inotify
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from zatotx.interfaces.config import FileVersion
from zatotx.interfaces.node import DeploymentReport
from zatotx.model.errors import BadRequest, ServiceUnavailable
from zatotx.schema.snapshot import Actor
from zatotx.service.deployment.pickup import PickupWatcher
from zatotx.service.deployment.pickup_scan import EntryFingerprint, SettledEntries
from zatotx.service.deployment.source_package import parse_upload

INTERVAL = 0.1  # seconds; half a second in production


class Deployments:
    """A deployer and the versions of an ODB in memory; content that contains `bad` is rejected."""

    def __init__(self) -> None:
        self.deployed: list[tuple[str, bytes]] = []
        self.kept: list[FileVersion] = []
        self.away = 0  # how many calls yet find the ODB away
        self.away_at_start = 0  # the same for those that ask for the versions
        self.broken: Exception | None = None  # raised once

    def deploy(self, file: str, content: bytes, actor: Actor) -> Deferred[DeploymentReport]:
        if self.away:
            self.away -= 1
            return fail(ServiceUnavailable('The ODB is unavailable'))
        if self.broken is not None:
            error, self.broken = self.broken, None
            return fail(error)
        if b'bad' in content:
            return fail(BadRequest(f'{file}:1: NameError: bad'))
        self.deployed.append((file, content))
        return succeed(DeploymentReport(version=self.keep(file, content)))

    def rollback(self, name: str, number: int | None, actor: Actor) -> Deferred[DeploymentReport]:
        raise AssertionError('A pickup directory rolls nothing back')

    def keep(self, name: str, content: bytes) -> FileVersion:
        source = parse_upload(name, content)
        self.kept.append(
            FileVersion(
                id=1,
                file=source.file,
                number=1,
                form=source.form,
                sha256=sha256(source.content).hexdigest(),
                created=0.0,
                by='test',
                active=True,
            )
        )
        return self.kept[-1]

    def versions(self, file: str | None = None) -> Deferred[list[FileVersion]]:
        if self.away_at_start:
            self.away_at_start -= 1
            return fail(ServiceUnavailable('The ODB is unavailable'))
        return succeed(list(self.kept))


class LooksTests(SynchronousTestCase):
    one, two = (EntryFingerprint(False, (('', 1, size, 1),)) for size in (1, 2))

    def settled(self, looks: SettledEntries, *marks: EntryFingerprint) -> list[list[str]]:
        return [looks.find_settled({'a.py': mark}, only_directories=False) for mark in marks]

    def test_rests(self) -> None:
        """An entry is ready at the third scan that finds it unchanged; a change restarts the count."""
        one, two = self.one, self.two
        self.assertEqual(self.settled(SettledEntries(), one, one, two, two, two), [[], [], [], [], ['a.py']])

    def test_taken_once(self) -> None:
        """A deployed entry is not ready again until it changes or reappears."""
        looks = SettledEntries()
        looks.mark_deployed('a.py', self.one)
        self.assertEqual(self.settled(looks, self.one, self.one, self.one, self.one), [[]] * 4)
        self.assertEqual(looks.find_settled({}, only_directories=False), [])
        self.assertEqual(self.settled(looks, self.one, self.one, self.one), [[], [], ['a.py']])


class PickupCase(TestCase):
    """A test case with a watcher of its own directory."""

    notify = True

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.place = Path(self.mktemp()).resolve()
        self.place.mkdir()
        self.deployments = Deployments()
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.pickup = self.make()

    def make(self) -> PickupWatcher:
        made = PickupWatcher(
            reactor=self.reactor,
            directory=str(self.place),
            deployer=self.deployments,  # type: ignore[arg-type]
            odb=self.deployments,  # type: ignore[arg-type]
            offload=deferToThread,
            notify=self.notify,
            interval=INTERVAL,
        )
        self.addCleanup(made.stop)
        return made

    def looks(self, times: float) -> Deferred[None]:
        """Wait for that many scans and a little longer."""
        return deferLater(self.reactor, times * INTERVAL + 0.2, lambda: None)

    async def until(self, true: Callable[[], object]) -> None:
        for _ in range(6000):
            if true():
                return
            await deferLater(self.reactor, 0.01, lambda: None)
        self.fail(f'{self.deployments.deployed} {self.said()}')

    def said(self) -> list[str]:
        return [formatEvent(e) for e in self.events if e.get('log_namespace', '').startswith('zatotx')]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.deployments.deployed]


class PickupTests(PickupCase):
    """The watcher with inotify."""

    async def test_dropped_file(self) -> None:
        """A file that is written or moved in is deployed once; a change deploys it again."""
        await self.pickup.start()
        (self.place / 'a.py').write_text('1')
        outside = Path(self.mktemp())
        outside.write_text('2')
        outside.rename(self.place / 'b.py')
        await self.until(lambda: len(self.names) == 2)
        await self.looks(4)
        self.assertEqual(sorted(self.deployments.deployed), [('a.py', b'1'), ('b.py', b'2')])
        (self.place / 'a.py').write_text('3')
        await self.until(lambda: self.deployments.deployed[2:])
        self.assertEqual(self.deployments.deployed[2], ('a.py', b'3'))

    async def test_slow_writer(self) -> None:
        """A file that is still being written is not deployed."""
        await self.pickup.start()
        with (self.place / 'a.py').open('w') as writer:
            for part in range(6):
                writer.write(f'{part}\n')
                writer.flush()
                await deferLater(self.reactor, 0.15, lambda: None)
            self.assertEqual(self.names, [])
        await self.until(lambda: self.names)
        self.assertEqual(self.deployments.deployed, [('a.py', b'0\n1\n2\n3\n4\n5\n')])

    async def test_package(self) -> None:
        """A directory is deployed as a package when it has settled, and again when a nested file changes."""
        await self.pickup.start()
        (self.place / 'crm' / 'sub').mkdir(parents=True)
        (self.place / 'crm' / '__init__.py').write_text('i')
        (self.place / 'crm' / 'sub' / 'a.py').write_text('1')
        await self.until(lambda: self.names)
        files = parse_upload(*self.deployments.deployed[0]).files
        self.assertEqual(dict(files), {'crm/__init__.py': b'i', 'crm/sub/a.py': b'1'})
        (self.place / 'crm' / 'sub' / 'a.py').write_text('changed')
        await self.until(lambda: len(self.names) == 2)
        self.assertEqual(parse_upload(*self.deployments.deployed[1]).files['crm/sub/a.py'], b'changed')
        self.assertEqual(self.names, ['crm.zip', 'crm.zip'])

    async def test_removed_package_does_not_end_the_watch(self) -> None:
        """After a package was removed, files are still deployed."""
        await self.pickup.start()
        (self.place / 'crm').mkdir()
        (self.place / 'crm' / '__init__.py').write_text('')
        await self.until(lambda: self.names)
        (self.place / 'crm' / '__init__.py').unlink()
        (self.place / 'crm').rmdir()
        await self.looks(1)
        (self.place / 'a.py').write_text('1')
        await self.until(lambda: 'a.py' in self.names)

    async def test_links(self) -> None:
        """A symbolic link to a module, which no writer ever closes, is deployed."""
        await self.pickup.start()
        outside = Path(self.mktemp()).resolve()
        outside.write_text('linked')
        (self.place / 'a.py').symlink_to(outside)
        await self.until(lambda: self.names)
        self.assertEqual(self.deployments.deployed, [('a.py', b'linked')])

    async def test_junk(self) -> None:
        """Editors' files, hidden files, caches, pipes and files of other types are ignored silently."""
        await self.pickup.start()
        for name in ('.a.py', 'a.py~', '.a.py.swp', 'a.pyc', '#a.py#', 'notes.txt', 'a.py.tmp', 'README'):
            (self.place / name).write_text('x')
        (self.place / '__pycache__').mkdir()
        os.mkfifo(self.place / 'pipe.py')
        await self.looks(4)
        self.assertEqual((self.names, self.said()), ([], []))

    async def test_refusal(self) -> None:
        """A rejected file is logged once, as one sentence with file and line, without traceback."""
        await self.pickup.start()
        (self.place / 'crm.py').write_text('bad')
        await self.until(self.said)
        await self.looks(4)
        self.assertEqual(self.said(), ['crm.py was not deployed: crm.py:1: NameError: bad'])

    async def test_not_a_package(self) -> None:
        """A directory without `__init__.py` and an unsupported archive are rejected with what to do."""
        await self.pickup.start()
        (self.place / 'crm').mkdir()
        (self.place / 'crm' / 'a.py').write_text('')
        await self.until(self.said)
        self.assertEqual(
            self.said(), ['crm was not deployed: crm/__init__.py is missing: a package needs one']
        )

    async def test_unreadable(self) -> None:
        """A file that cannot be read is named in a message."""
        await self.pickup.start()
        (self.place / 'a.py').symlink_to('/proc/self/mem')
        await self.until(self.said)
        self.assertEqual(self.said(), ['a.py was not deployed: a.py: it cannot be read: Input/output error'])

    async def test_what_lay_there_at_the_start(self) -> None:
        """At startup only files unknown to the ODB are deployed; others are named in the log and wait until they are
        dropped again."""
        for name, text in (('known.py', '1'), ('stale.py', 'old'), ('new.py', 'n')):
            (self.place / name).write_text(text)
        self.deployments.keep('known.py', b'1')
        self.deployments.keep('stale.py', b'newer')
        await self.pickup.start()
        await self.until(lambda: self.names)
        await self.looks(4)
        self.assertEqual(self.deployments.deployed, [('new.py', b'n')])
        told = [text for text in self.said() if 'before the start' in text]
        self.assertEqual(len(told), 1)
        self.assertTrue(told[0].startswith('stale.py lay in the pickup directory'), told)
        (self.place / 'stale.py').write_text('dropped again')
        await self.until(lambda: self.names[1:])
        self.assertEqual(self.deployments.deployed[1], ('stale.py', b'dropped again'))

    async def test_odb_away(self) -> None:
        """A file dropped while the ODB is unavailable is deployed later, with one log message."""
        self.deployments.away = 2
        await self.pickup.start()
        (self.place / 'a.py').write_text('1')
        await self.until(lambda: self.names)
        self.assertEqual(self.deployments.deployed, [('a.py', b'1')])
        told = [text for text in self.said() if 'unavailable' in text]
        self.assertEqual(told, ['a.py waits in the pickup directory: The ODB is unavailable'])

    async def test_odb_away_at_the_start(self) -> None:
        """If the ODB is unavailable at startup, existing files are examined as at startup once it is back."""
        self.deployments.keep('known.py', b'1')
        for name in ('known.py', 'new.py'):
            (self.place / name).write_text('0')
        self.deployments.away_at_start = 2
        await self.pickup.start()
        await self.until(lambda: self.names)
        await self.looks(4)
        self.assertEqual(self.names, ['new.py'])
        self.assertEqual(len([text for text in self.said() if 'wait for the ODB: The ODB is unavailable' in text]), 1)

    async def test_mistake_of_ours(self) -> None:
        """An unexpected error during a deployment is logged with its traceback, and the next file is deployed."""
        await self.pickup.start()
        self.deployments.broken = ZeroDivisionError('ours')
        (self.place / 'a.py').write_text('1')
        await self.until(self.said)
        self.assertEqual(self.said(), ['a.py was not deployed'])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        (self.place / 'b.py').write_text('2')
        await self.until(lambda: self.names)

    async def test_directory_comes_back(self) -> None:
        """A directory that is removed and created again is watched again, with one log message."""
        await self.pickup.start()
        self.place.rmdir()
        await self.until(self.said)
        self.assertIn('cannot be read: No such file or directory', self.said()[0])
        self.place.mkdir()
        (self.place / 'early.py').write_text('0')
        await self.looks(3)
        (self.place / 'a.py').write_text('1')
        await self.until(lambda: 'a.py' in self.names)

    async def test_stops(self) -> None:
        """After the stop nothing is deployed."""
        await self.pickup.start()
        await self.pickup.stop()
        (self.place / 'a.py').write_text('1')
        await self.looks(4)
        self.assertEqual(self.names, [])


class NoInotifyLeftTests(PickupCase):
    async def test_looks_instead(self) -> None:
        """If no inotify instance is available, the log says so and scans find files."""

        def exhausted(reactor: object) -> None:
            raise inotify.INotifyError('too many instances')

        self.patch(inotify, 'INotify', exhausted)
        await self.pickup.start()
        self.assertIn('there is no inotify: too many instances', self.said()[0])
        (self.place / 'a.py').write_text('1')
        await self.until(lambda: self.names)


class PollingTests(PickupTests):
    """The same tests without inotify."""

    notify = False
