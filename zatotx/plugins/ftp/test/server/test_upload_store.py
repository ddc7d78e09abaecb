"""Uploads on the disk, above all after the process was killed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.ftp.server.file_tree import FAILED, INCOMPLETE, PROCESSED, FileTree
from zatotx.plugins.ftp.server.upload_store import UploadRecord, UploadStore

DATA = b'0123456789'


class UploadStoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.store = self.opened()[0]

    def opened(self) -> tuple[UploadStore, list[UploadRecord]]:
        """The store of another process, and what it finds."""
        store = UploadStore(FileTree(self.root), lambda: 1.0)
        return store, store.open()

    def reopened(self) -> list[UploadRecord]:
        """What the next process finds."""
        self.store.close()
        self.store, records = self.opened()
        return records

    def uploaded(self, name: str = 'a.csv') -> UploadRecord:
        """A received upload."""
        upload = self.store.begin((name,), 0)
        upload.write(DATA)
        return self.store.receive(upload, 'partner')

    def test_received(self) -> None:
        """A received upload is at its own path and no more under its name; the record describes it; it is settled
        once."""
        record = self.uploaded()
        self.assertEqual((record.name, record.size, record.sha256, record.user, record.redelivered),
                         ('a.csv', 10, hashlib.sha256(DATA).hexdigest(), 'partner', False))  # fmt: skip
        self.assertEqual(self.store.path_of(record).read_bytes(), DATA)
        self.assertFalse(self.store.path_of(record).stat().st_mode & INCOMPLETE)
        self.assertEqual(self.store.tree.entries(()), [])
        self.store.settle(record, PROCESSED)
        self.store.settle(record, PROCESSED)
        self.assertEqual((self.root / PROCESSED / 'a.csv').read_bytes(), DATA)
        self.assertEqual(self.reopened(), [])

    def test_service_moved_the_file(self) -> None:
        """A service may move or delete its file: then there is nothing to move."""
        record = self.uploaded()
        self.store.path_of(record).unlink()
        self.store.settle(record, PROCESSED)
        self.assertFalse((self.root / PROCESSED).exists())
        self.assertEqual(self.reopened(), [])

    def test_no_file_is_overwritten(self) -> None:
        """A second file of a name, and one whose directory has the name of a file, get names of their own."""
        first, second = self.uploaded('a'), self.uploaded('a')
        self.store.tree.make_directory(('b',))
        upload = self.store.begin(('b', 'c'), 0)
        third = self.store.receive(upload, 'partner')
        (self.root / FAILED).mkdir()
        (self.root / FAILED / 'b').write_text('a file')
        for record in (first, second, third):
            self.store.settle(record, FAILED)
        names = sorted(path.name for path in (self.root / FAILED).iterdir())
        self.assertEqual(names, sorted(['a', f'a.{second.id}', 'b', 'c']))

    def test_resume(self) -> None:
        """A cut upload stays incomplete, can be resumed at any byte up to its end, and is hashed as a whole."""
        upload = self.store.begin(('a',), 0)
        upload.write(DATA)
        upload.close()
        self.assertTrue((self.root / 'a').stat().st_mode & INCOMPLETE)
        self.assertEqual(self.assertRaises(OSError, self.store.tree.open_to_read, ('a',)).errno, errno.EBUSY)
        self.assertEqual(self.assertRaises(OSError, self.store.begin, ('a',), 11).errno, errno.EINVAL)
        upload = self.store.begin(('a',), 8)
        upload.write(b'xy')
        self.assertRaises(OSError, self.store.begin, ('a',), 0)
        record = self.store.receive(upload, 'partner')
        self.assertEqual(record.sha256, hashlib.sha256(b'01234567xy').hexdigest())

    def test_closed_upload(self) -> None:
        """A write that comes after the end touches nothing, as its descriptor may be that of another file."""
        upload = self.store.begin(('a',), 0)
        upload.close()
        upload.close()
        self.assertRaises(OSError, upload.write, DATA)

    def test_rename_replaces(self) -> None:
        """A file that is received under a new name replaces the rest of a cut upload of that name, and no directory."""
        self.store.begin(('a',), 0).close()
        upload = self.store.begin(('a.part',), 0)
        upload.write(DATA)
        self.store.keep(upload)
        self.store.tree.make_directory(('d',))
        self.assertRaises(IsADirectoryError, self.store.receive_renamed, ('a.part',), ('d',), 'partner')
        record = self.store.receive_renamed(('a.part',), ('a',), 'partner')
        self.assertEqual((record.name, record.size), ('a', 10))
        self.assertEqual([entry.name for entry in self.store.tree.entries(())], ['d'])

    def test_special_files(self) -> None:
        """Pipes and directories are neither written nor read."""
        os.mkfifo(self.root / 'pipe')
        (self.root / 'directory').mkdir()
        for name in ('pipe', 'directory'):
            self.assertRaises(OSError, self.store.begin, (name,), 0)
            self.assertRaises(OSError, self.store.tree.open_to_read, (name,))
            self.assertRaises(OSError, self.store.tree.delete, (name,))
        self.assertEqual([entry.name for entry in self.store.tree.entries(())], ['directory'])

    def test_one_process(self) -> None:
        """Another process cannot open the directory meanwhile."""
        self.assertRaises(BlockingIOError, self.opened)
        self.store.close()
        self.opened()[0].close()
        self.store.open()

    def test_half_a_record(self) -> None:
        """A record that was being written when the process was killed is dropped."""
        (self.store.received / 'x.json').write_text('{"id": "x"')
        (self.store.received / 'y').mkdir()
        self.assertEqual(self.reopened(), [])
        self.assertEqual(list(self.store.received.iterdir()), [])

    def test_killed_at_every_step(self) -> None:
        """Whichever system call a process is killed before: an upload that a client had a reply for is received or
        settled, one without is either incomplete under its name or received; never twice, never changed."""
        step, states = 0, set()
        while True:
            step += 1
            root = Path(self.mktemp()).absolute()
            replied, is_over = killed_before(step, root)
            store = UploadStore(FileTree(root))
            records = store.open()
            processed = root / PROCESSED / 'a.csv'
            name = root / 'a.csv'
            found = [len(records) == 1, processed.exists(), name.exists()]
            if replied:
                self.assertEqual(sum(found[:2]), 1, (step, found))
            self.assertLessEqual(sum(found), 1, (step, found))
            for record in records:
                self.assertTrue(record.redelivered)
                self.assertEqual(store.path_of(record).read_bytes(), DATA)
                store.settle(record, PROCESSED)
            if name.exists():
                self.assertTrue(name.stat().st_mode & stat.S_ISVTX or not name.stat().st_size, step)
            if processed.exists():
                self.assertEqual(processed.read_bytes(), DATA)
            store.close()
            states.add(tuple(found))
            if is_over:
                break
        self.assertGreater(step, 20)
        self.assertEqual(states, {(False, False, False), (False, False, True), (True, False, False),
                                  (False, True, False)})  # fmt: skip


def killed_before(step: int, root: Path) -> tuple[bool, bool]:
    """Run the life of an upload in a process that ends before its system call number `step`. Returns whether its
    client had a reply, and whether the process came to its end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        _live(step, root, writing)
    os.close(writing)
    with os.fdopen(reading, 'rb') as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return b'226' in said, b'end' in said


def _live(step: int, root: Path, pipe: int) -> None:
    left = step

    def count(event: str, args: Any) -> None:
        nonlocal left
        if event.startswith(('open', 'os.', 'shutil.', 'fcntl.')):
            left -= 1
            if not left:
                os._exit(1)

    try:
        store = UploadStore(FileTree(root))
        sys.addaudithook(count)
        store.open()
        upload = store.begin(('a.csv',), 0)
        upload.write(DATA)
        record = store.receive(upload, 'partner')
        os.write(pipe, b'226')
        store.settle(record, PROCESSED)
        os.write(pipe, b'end')
    finally:
        os._exit(0)


class KillTests(SynchronousTestCase):
    def test_killed_at_every_call(self) -> None:
        """kill -9 at any system call: an upload is whole under its name, or delivered, or processed, and nothing is
        left over. One that its service may have had is delivered with `redelivered`; once it is moved, it is not
        delivered again."""
        command = [sys.executable, '-m', 'trial_tests.support.upload_kills', str(Path(self.mktemp()).absolute())]
        said = subprocess.run(command, capture_output=True, check=True, timeout=120)
        lines = [json.loads(line) for line in said.stdout.splitlines()]
        states: dict[str, list[str]] = {'receive': [], 'settle': []}
        for line in lines:
            self.assertEqual(line['left'], [], line)
            self.assertIn(line['files'], ({}, {'orders.csv': ''}, {'orders.csv': 'content'},
                                          {'processed/orders.csv': 'content'}), line)  # fmt: skip
            for delivery in line['delivered']:
                self.assertEqual((delivery['name'], delivery['content'], delivery['redelivered']),
                                 ('orders.csv', 'content', True))  # fmt: skip
                self.assertRegex(delivery['id'], '^[0-9a-f]{32}$')
            where = 'processed' if 'processed/orders.csv' in line['files'] else 'name' if line['files'] else ''
            states[line['phase']].append('delivered' if line['delivered'] else where)
        self.assertEqual(list(dict.fromkeys(states['receive'])), ['', 'name', 'delivered'])  # in this order
        self.assertEqual(list(dict.fromkeys(states['settle'])), ['delivered', 'processed'])
        self.assertGreater(len(lines), 20)
