"""Pollers, on a directory in memory and a clock."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.reactor import as_reactor
from trial_tests.unit.connectors.test_inbound_delivery import Memory, Service, reply
from zatotx.connectors.channels import ChannelParts
from zatotx.connectors.listener_registry import ListenerRegistry
from zatotx.connectors.rate_limited_event_log import RateLimitedEventLog
from zatotx.connectors.remote_files import DIRECTORY, FILE, FileInfo
from zatotx.interfaces.connector_kind import ChannelContext
from zatotx.interfaces.meters import NullMeter
from zatotx.model.errors import BadRequest, RemoteFileError, RemoteFileNotFound, ServiceUnavailable
from zatotx.plugins.ftp import poller as poller_module
from zatotx.plugins.ftp.file_stability import StabilityTracker, matches
from zatotx.plugins.ftp.poller import GRACE, PollChannel
from zatotx.plugins.ftp.schema.channel_ftp_poll import FtpPollChannel
from zatotx.schema.delivery_fields import DeliveryRetry

NOON = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


def info(name: str, size: int | None = 1, minute: int = 0) -> FileInfo:
    return FileInfo(name=name, type=FILE, size=size, modified=NOON.replace(minute=minute))


def _raise(error: Exception, *args: object) -> None:
    raise error


class StabilityTests(SynchronousTestCase):
    def test_stable(self) -> None:
        """A file is complete when its size and time have not changed for a while."""
        tracker = StabilityTracker(5.0)
        self.assertEqual(tracker.update([info('a')], 100.0), [])
        self.assertEqual(tracker.update([info('a', 2)], 104.0), [])
        self.assertEqual(tracker.update([info('a', 2)], 108.9), [])
        self.assertEqual(tracker.update([info('a', 2, 1)], 109.0), [])
        self.assertEqual(tracker.update([info('a', 2, 1)], 114.0), [info('a', 2, 1)])

    def test_order(self) -> None:
        """The oldest files come first; those that are gone are forgotten."""
        tracker = StabilityTracker(1.0)
        tracker.update([info('b')], 0.0)
        tracker.update([info('b'), info('c'), info('a')], 0.5)
        self.assertEqual(tracker.update([info('c'), info('b'), info('a')], 2.0), [info('b'), info('a'), info('c')])
        tracker.update([], 3.0)
        self.assertEqual(tracker.update([info('a')], 4.0), [])
        tracker.forget('a')
        self.assertEqual(tracker.update([info('a')], 9.0), [])

    def test_delay(self) -> None:
        """The next look is when a file is complete, or at the interval."""
        tracker = StabilityTracker(5.0)
        self.assertEqual(tracker.delay(0.0, 30.0), 30.0)
        tracker.update([info('a')], 10.0)
        self.assertEqual(tracker.delay(12.0, 30.0), 3.0)
        self.assertEqual(tracker.delay(12.0, 2.0), 2.0)
        self.assertEqual(tracker.delay(20.0, 30.0), 30.0)

    def test_patterns(self) -> None:
        """Names of incomplete files are no matches."""
        self.assertTrue(matches('a.csv', '*.csv', ['*.part']))
        self.assertFalse(matches('a.csv.part', '*', ['*.part']))
        self.assertFalse(matches('a.CSV', '*.csv', []))


class MemoryReader:
    """FileReader."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    async def read(self) -> bytes:
        return self._chunks.pop(0) if self._chunks else b''

    async def close(self) -> None:
        self._chunks.clear()


class MemoryFiles:
    """RemoteFiles: paths and contents. `errors`: by path, raised by open_reader; `waits`: lists fire with it."""

    max_content_size = 1000

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.contents: dict[str, bytes] = {}
        self.directories = {'in'}
        self.errors: dict[str, Exception] = {}
        self.error: Exception | None = None
        self.waits: Deferred[None] | None = None
        self.after_reading: Any = None

    async def list_directory(self, path: str, call: Any) -> list[FileInfo]:
        if self.error is not None:
            raise self.error
        if self.waits is not None:
            await self.waits
        names = {name.removeprefix(f'{path}/') for name in self.contents if name.startswith(f'{path}/')}
        return [FileInfo(name='sub', type=DIRECTORY), *(self.entry(path, name) for name in names if '/' not in name)]

    def entry(self, path: str, name: str) -> FileInfo:
        return info(name, len(self.contents[f'{path}/{name}']))

    async def find(self, path: str, call: Any) -> FileInfo | None:
        if path in self.directories:
            return FileInfo(name=path, type=DIRECTORY)
        return info(path, len(self.contents[path])) if path in self.contents else None

    async def make_directory(self, path: str, call: Any) -> None:
        self.directories.add(path)

    async def remove_file(self, path: str, call: Any) -> None:
        del self.contents[path]

    async def rename(self, source: str, target: str, call: Any) -> None:
        if source not in self.contents:
            raise RemoteFileNotFound('c', 'gone')
        self.contents[target] = self.contents.pop(source)

    async def open_reader(self, path: str, call: Any, *, offset: int = 0, is_bounded: bool = False) -> Any:
        if path in self.errors:
            raise self.errors[path]
        content = self.contents[path]
        if self.after_reading is not None:
            self.after_reading()
        return MemoryReader([content[:2], content[2:]] if content else [])


class PollerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.service, self.memory = Clock(), Service(), Memory()
        self.files: Any = MemoryFiles(self.clock)
        self.retired = 0
        self.in_progress: set[str] = set()
        self.work_dir = self.mktemp()

    def start(self, **fields: Any) -> PollChannel:
        """A poller that has looked once."""
        value = FtpPollChannel(**{'name': 'orders', 'connection': 'Bank', 'service': 'orders', 'directory': 'in',
                                  'interval': 10, 'stable_for': 5, 'retry': None, **fields})  # fmt: skip
        context = ChannelContext(
            reactor=as_reactor(self.clock), settings={}, line_sink=self.fail, work_dir=self.work_dir,
            run_in_thread=execute,
            dead_letters=self.memory, processed_keys=self.memory,
        )  # fmt: skip
        parts = ChannelParts(title='Channel orders (ftp-poll)', address='', meter=NullMeter(), context=context,
                             listeners=ListenerRegistry(context.listen),
                             events=RateLimitedEventLog('Channel orders (ftp-poll)', context.reactor))  # fmt: skip
        poller = PollChannel(value, parts, self.files, self.retire, self.in_progress)
        self.successResultOf(Deferred.fromCoroutine(poller.start(self.service, self.fail)))
        return poller

    def retire(self) -> None:
        self.retired += 1

    def messages(self) -> list[Mapping[str, Any]]:
        """What the service got."""
        return [json.loads(message.body) for message in self.service.messages if isinstance(message.body, bytes)]

    def test_delivered(self) -> None:
        """A stable file is copied, delivered and then moved; its copy is there while the service runs."""
        self.files.contents = {'in/a.csv': b'content', 'in/b.part': b'x', 'in/.hidden': b'x'}
        self.start()
        self.assertEqual(self.messages(), [])
        self.clock.advance(5)
        (message,) = self.messages()
        path = Path(message['path'])
        self.assertEqual((path.name, path.read_bytes()), ('a.csv', b'content'))
        self.assertEqual(
            {key: message[key] for key in ('name', 'size', 'connection', 'directory', 'modified')},
            {'name': 'a.csv', 'size': 7, 'connection': 'Bank', 'directory': 'in',
             'modified': '2026-11-30T12:00:00+00:00'},
        )  # fmt: skip
        self.assertIn('in/a.csv', self.files.contents)
        self.service.waiting[0](reply())
        self.assertEqual(set(self.files.contents), {'in/processed/a.csv', 'in/b.part', 'in/.hidden'})
        self.assertFalse(path.exists())
        self.clock.advance(20)
        self.assertEqual(len(self.messages()), 1)

    def test_growing_file(self) -> None:
        """A file that grows is left alone, also if it grows while it is fetched."""
        self.files.contents = {'in/a': b'1'}
        self.start()
        for size in range(2, 6):
            self.files.contents['in/a'] = b'1' * size
            self.clock.advance(4.9)
        self.assertEqual(self.messages(), [])
        self.files.after_reading = lambda: self.files.contents.update({'in/a': b'longer than before'})
        self.clock.pump([1] * 10)
        self.assertEqual(self.messages(), [])
        self.files.after_reading = None
        self.clock.pump([1] * 20)
        self.assertEqual([message['size'] for message in self.messages()], [18])

    def test_failed(self) -> None:
        """A file whose service fails for the last time is moved aside, and can become a dead letter; moved back it runs
        again."""
        self.files.contents = {'in/a': b'1'}
        self.start(dead_letter=True)
        self.clock.advance(5)
        self.service.waiting.pop()(reply(BadRequest('c', 'no')))
        self.assertEqual(set(self.files.contents), {'in/failed/a'})
        self.assertEqual(len(self.memory.letters), 1)
        self.files.contents = {'in/a': b'1'}
        self.clock.pump([1] * 20)
        self.assertEqual(len(self.messages()), 2)
        self.assertEqual(len({message['delivery_id'] for message in self.messages()}), 1)

    def test_retried(self) -> None:
        """Retries follow the policy keys; the file stays meanwhile."""
        self.files.contents = {'in/a': b'1'}
        self.start(retry=DeliveryRetry(attempts=2, backoff=1.0, max_delay=1.0))
        self.clock.advance(5)
        self.service.waiting.pop()(reply(RuntimeError('not yet')))
        self.clock.advance(1)
        self.assertIn('in/a', self.files.contents)
        self.service.waiting.pop()(reply())
        self.assertEqual(set(self.files.contents), {'in/processed/a'})

    def test_deleted(self) -> None:
        """after: delete."""
        self.files.contents = {'in/a': b''}
        self.service.outcomes = [reply()]
        self.start(after='delete', stable_for=0)
        self.assertEqual(self.files.contents, {})

    def test_name_is_taken(self) -> None:
        """A file does not replace another one of its name in `processed`."""
        self.files.contents = {'in/a': b'1', 'in/processed/a': b'old'}
        self.files.directories.add('in/processed')
        self.service.outcomes = [reply()]
        self.start(stable_for=0)
        (moved,) = set(self.files.contents) - {'in/processed/a'}
        self.assertEqual(moved, f'in/processed/a.{self.messages()[0]["delivery_id"][:8]}')
        self.assertEqual(self.files.contents['in/processed/a'], b'old')

    def test_duplicate(self) -> None:
        """A file that was processed, but not moved because the process died, is moved without running again; one with
        another size or time is another file."""
        self.files.contents = {'in/a': b'1'}
        self.service.outcomes = [reply(), reply()]
        self.start(stable_for=0)
        self.assertEqual(len(self.messages()), 1)
        self.files.contents = {'in/a': b'1'}
        self.clock.advance(10)
        self.assertEqual((len(self.messages()), set(self.files.contents)), (1, {'in/processed/a'}))
        self.files.contents = {'in/a': b'22'}
        self.clock.advance(10)
        self.assertEqual(len(self.messages()), 2)

    def test_redelivered(self) -> None:
        """A file whose service did not end, because the process died or stopped, comes again with the id of its
        delivery and `redelivered`; one that changed meanwhile is another file."""
        self.files.contents = {'in/a': b'1'}
        first = self.start(stable_for=0)
        stopping = first.stop()
        self.clock.advance(GRACE)
        self.successResultOf(stopping)
        self.service.outcomes = [reply(), reply()]
        self.start(stable_for=0)
        self.files.contents['in/a'] = b'22'
        self.clock.advance(10)
        self.assertEqual([message['redelivered'] for message in self.messages()], [False, True, False])
        ids = [message['delivery_id'] for message in self.messages()]
        self.assertEqual((ids[0] == ids[1], ids[1] == ids[2]), (True, False))

    def test_redis_is_away(self) -> None:
        """A file of which it cannot be noted that its service gets it stays, and is delivered when that is possible."""
        self.files.contents = {'in/a': b'1'}
        self.memory.is_away = True
        poller = self.start(stable_for=0)
        self.assertEqual((self.messages(), set(self.files.contents)), ([], {'in/a'}))
        self.assertIn('cannot fetch files', ' '.join(poller.findings()))
        self.memory.is_away = False
        self.clock.advance(10)
        self.assertEqual([message['redelivered'] for message in self.messages()], [False])

    def test_unreadable_file(self) -> None:
        """A file that cannot be read keeps none of the others; it is a finding."""
        self.files.contents = {'in/a': b'1', 'in/b': b'2', 'in/c': b'3'}
        self.files.errors = {'in/a': RemoteFileError('c', 'in/a: 550 no'), 'in/b': RemoteFileNotFound('c', 'gone')}
        self.service.outcomes = [reply()]
        poller = self.start(stable_for=0)
        self.assertEqual([message['name'] for message in self.messages()], ['c'])
        self.assertEqual(list(poller.findings()), ['Channel orders (ftp-poll) cannot fetch files: in/a: 550 no'])

    def test_disk_is_full(self) -> None:
        """A file of which this machine cannot keep a copy stays where it is, and nothing is delivered: a finding."""
        self.files.contents = {'in/a': b'content'}
        self.patch(poller_module, '_append', partial(_raise, OSError(errno.ENOSPC, 'No space left on device')))
        poller = self.start(stable_for=0)
        self.assertEqual((self.messages(), set(self.files.contents)), ([], {'in/a'}))
        self.assertIn('No space left on device', ' '.join(poller.findings()))
        self.assertEqual(list(Path(self.work_dir).glob('ftp-poll/*/*')), [])

    def test_server_is_away(self) -> None:
        """A server that is away is a finding, until it is back."""
        self.files.error = ServiceUnavailable('c', 'Outgoing connection Bank (ftp) cannot be used')
        poller = self.start()
        self.assertIn('Bank', ''.join(poller.findings()))
        self.files.error = None
        self.clock.advance(10)
        self.assertEqual(list(poller.findings()), [])

    def test_stopped_while_the_service_runs(self) -> None:
        """Stopping waits for the service, and for the move; no other file is begun."""
        self.files.contents = {'in/a': b'1', 'in/b': b'2'}
        poller = self.start(stable_for=0)
        stopping = poller.stop()
        self.clock.advance(GRACE / 2)
        self.assertNoResult(stopping)
        self.service.waiting[0](reply())
        self.successResultOf(stopping)
        self.assertEqual((len(self.messages()), self.retired), (1, 1))
        self.assertEqual(set(self.files.contents), {'in/processed/a', 'in/b'})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped_after_the_grace(self) -> None:
        """A service that does not end is cancelled, and its file stays for the next time."""
        self.files.contents = {'in/a': b'1'}
        poller = self.start(stable_for=0)
        stopping = poller.stop()
        self.clock.advance(GRACE)
        self.successResultOf(stopping)
        self.assertEqual((self.service.cancelled, set(self.files.contents)), (1, {'in/a'}))
        self.assertEqual(list(Path(self.work_dir).glob('*/*')), [])

    def test_stopped_while_it_looks(self) -> None:
        """A look at the directory is cancelled."""
        self.files.waits = Deferred()
        poller = self.start()
        stopping = poller.stop()
        self.clock.advance(0)
        self.successResultOf(stopping)
        self.assertEqual((self.retired, self.clock.getDelayedCalls()), (1, []))

    def test_replaced(self) -> None:
        """A poller that replaces another one leaves the file alone that the old one has."""
        self.files.contents = {'in/a': b'1'}
        old = self.start(stable_for=0, idempotent=None)
        new = self.start(stable_for=0, idempotent=None, interval=1)
        stopping = old.stop()
        self.clock.advance(3)
        self.assertEqual(len(self.messages()), 1)
        self.assertTrue(Path(self.messages()[0]['path']).exists())
        self.service.waiting[0](reply())
        self.successResultOf(stopping)
        self.clock.advance(3)
        self.assertEqual((len(self.messages()), set(self.files.contents)), (1, {'in/processed/a'}))
        self.successResultOf(new.stop())

    def test_copies_of_the_dead(self) -> None:
        """Copies that a process has left that is gone are removed."""
        left = Path(self.work_dir, 'ftp-poll', '999999999-x')
        left.mkdir(parents=True)
        self.start()
        self.assertFalse(left.exists())
