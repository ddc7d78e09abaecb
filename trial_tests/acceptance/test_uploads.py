"""Files that come up, and events that go down, with curl as the client of a real server."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.rawhttp import Connection

SERVICES = '''
import hashlib
from zatotx import Event, Service

WAITING = []


def digest_of(chunks, seen):
    for chunk in chunks:
        seen.update(chunk)
    return seen.hexdigest()


class Upload(Service):
    name = 'up.async'
    input = '-title'
    output = 'title', 'files', 'size', 'fields'

    async def handle(self):
        files = []
        for name in self.request.files:
            for file in self.request.files.getlist(name):
                seen = hashlib.sha256()
                async for chunk in file.chunks():
                    seen.update(chunk)
                files.append([file.name, file.filename, file.content_type, file.size, seen.hexdigest()])
        self.response.payload = {'title': self.request.input.title, 'files': files,
                                 'size': len(self.request.raw_request) if self.request.http.GET.get('raw') else 0,
                                 'fields': dict(self.request.http.POST)}


class UploadInThread(Service):
    name = 'up.thread'
    output = 'files', 'small'

    def handle(self):
        files = [[file.name, file.size, digest_of(file.chunks(1000), hashlib.sha256())]
                 for file in self.request.files.values()]
        first = next(iter(self.request.files.values()))
        self.response.payload = {'files': files, 'small': first.read()[:5].decode()}


class Save(Service):
    name = 'up.save'
    output = 'wrote'

    async def handle(self):
        self.response.payload = {'wrote': await self.request.files['body'].save(self.request.http.GET['path'])}


class Echo(Service):
    """ The file back, as it is read. """
    name = 'up.echo'

    async def handle(self):
        file = self.request.files['f']
        self.response.stream(file.chunks(), file.content_type or 'application/octet-stream')


class Ticks(Service):
    name = 'up.ticks'

    async def handle(self):
        self.response.events(self.ticks(self.request.last_event_id))

    async def ticks(self, last):
        for n in range(int(last or 0) + 1, 4):
            yield Event({'n': n}, event='tick', id=str(n))


class Slow(Service):
    """ Nothing ever happens. """
    name = 'up.slow'

    async def handle(self):
        self.response.events(self.nothing(), heartbeat=0.1)

    async def nothing(self):
        from twisted.internet.defer import Deferred
        try:
            yield 'begun'
            await Deferred()
        finally:
            self.logger.info('Nobody listens to nothing any more')


class InThread(Service):
    name = 'up.ticks.thread'

    def handle(self):
        self.response.events(str(n) for n in range(3))
'''

CHANNELS = '''
channel_rest:
  - {name: up.json, url_path: /up/json, service: up.async, data_format: json}
  - {name: up.raw, url_path: /up/raw, service: up.async}
  - {name: up.form, url_path: /up/form, service: up.async, data_format: form}
  - {name: up.thread, url_path: /up/thread, service: up.thread, data_format: json}
  - {name: up.save, url_path: /up/save, service: up.save, data_format: file, method: PUT}
  - {name: up.echo, url_path: /up/echo, service: up.echo, data_format: json}
  - {name: up.ticks, url_path: /up/ticks, service: up.ticks, method: GET}
  - {name: up.ticks.thread, url_path: /up/ticks/thread, service: up.ticks.thread}
  - {name: up.slow, url_path: /up/slow, service: up.slow}
'''
BIG = 48 * 1024 * 1024


def broker() -> Broker:
    """One server that takes bodies of 64 MiB, and holds a MiB of each in memory."""

    def build() -> Broker:
        made = create()
        made.set('http', max_body=64 * 1024 * 1024)
        made.start()
        made.serve('up.py', SERVICES)
        made.configure(CHANNELS)
        return made

    return shared('uploads', build)


class UploadCase(TestCase):
    def setUp(self) -> None:
        self.broker = broker()

    def curl(self, path: str, *options: str) -> bytes:
        url = f'http://127.0.0.1:{self.broker.port()}/up/{path}'
        return subprocess.run(('curl', '-sS', '-m', '60', *options, url), check=True, capture_output=True).stdout

    def asked(self, path: str, *options: str) -> Any:
        return json.loads(self.curl(path, *options))

    def file(self, size: int) -> tuple[str, str]:
        """A file of so many bytes, and its digest."""
        path = Path(self.mktemp())
        content = (b'0123456789abcdef\r\n--' * (size // 20 + 1))[:size]
        path.write_bytes(content)
        return str(path), hashlib.sha256(content).hexdigest()

    def memory(self) -> int:
        """The most that the server ever had in memory, bytes."""
        status = Path(f'/proc/{self.broker.pids()[0]}/status').read_text()
        return int(next(line for line in status.splitlines() if line.startswith('VmHWM')).split()[1]) * 1024


class UploadTests(UploadCase):
    def test_files_and_fields_of_a_form(self) -> None:
        """Whatever the channel's data format: files with all they say of themselves, fields as input; in order, and
        several under one name."""
        small, digest = self.file(100)
        other, other_digest = self.file(2_000_000)
        options = ('-F', 'title=An é', '-F', f'f=@{small};type=text/csv;filename=a.csv', '-F', f'f=@{other};filename=b')
        for path in ('json', 'raw', 'form'):
            said = self.asked(path, *options)
            found = said.get('response', said)
            self.assertEqual(found['title'], 'An é')
            self.assertEqual(found['fields'], {'title': 'An é'})
            self.assertEqual(found['files'], [
                ['f', 'a.csv', 'text/csv', 100, digest],
                ['f', 'b', 'application/octet-stream', 2_000_000, other_digest],
            ])  # fmt: skip

    def test_the_body_itself_is_still_there(self) -> None:
        """As raw_request, where somebody wants to read it all."""
        small, _ = self.file(100)
        self.assertTrue(self.asked('json?raw=1', '-F', f'f=@{small}')['size'] > 100)

    def test_in_a_thread(self) -> None:
        """`def` services get chunks and contents themselves."""
        path, digest = self.file(1_500_000)
        said = self.asked('thread', '-F', f'f=@{path}')
        self.assertEqual(said, {'files': [['f', 1_500_000, digest]], 'small': '01234'})

    def test_a_large_file_is_never_in_memory(self) -> None:
        """48 MiB of it raise the server's memory by a fraction of that."""
        path, digest = self.file(BIG)
        self.asked('json', '-F', f'f=@{self.file(1_500_000)[0]}')
        before = self.memory()
        said = self.asked('json', '-F', f'f=@{path}')
        self.assertEqual(said['files'][0][3:], [BIG, digest])
        self.assertLess(self.memory() - before, BIG // 2)

    def test_a_body_that_is_a_file(self) -> None:
        """`curl -T` to a channel of data_format file; saved with all of it, for its owner only."""
        path, digest = self.file(3_000_000)
        target = Path(self.mktemp()).absolute()
        said = self.asked(f'save?path={target}', '-T', path)
        self.assertEqual(said, {'wrote': 3_000_000})
        self.assertEqual(hashlib.sha256(target.read_bytes()).hexdigest(), digest)
        self.assertEqual(target.stat().st_mode & 0o777, 0o600)
        self.assertEqual([other.name for other in target.parent.iterdir() if other.name.startswith(target.name)],
                         [target.name])

    def test_a_file_goes_back_as_it_is_read(self) -> None:
        """A streamed answer may read the upload: its space is given back after the answer."""
        path, digest = self.file(5_000_000)
        body = self.curl('echo', '-F', f'f=@{path}')
        self.assertEqual(hashlib.sha256(body).hexdigest(), digest)

    def test_gzip_too(self) -> None:
        """A form in a content coding."""
        form = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nabc\r\n--x--\r\n'
        packed = subprocess.run(('gzip', '-c'), input=form, capture_output=True, check=True).stdout
        fields = {'Content-Type': 'multipart/form-data; boundary=x', 'Content-Encoding': 'gzip'}
        answer = self.broker.ask('POST', '/up/json', fields=fields, body=packed)
        self.assertEqual(answer.json()['files'][0][:4], ['f', 'a', '', 3])

    def test_what_is_no_form_is_a_400(self) -> None:
        """In one sentence; too large a body is a 413."""
        answer = self.broker.ask('POST', '/up/json', body=b'{}', fields={'Content-Type': 'multipart/form-data'})
        self.assertEqual(answer.status, 400)
        self.assertEqual(answer.details, 'Malformed multipart form: Content-Type names no boundary')
        fields = {'Content-Type': 'multipart/form-data; boundary=x'}
        answer = self.broker.ask('POST', '/up/json', body=b'--x\r\nContent-Disp', fields=fields)
        self.assertEqual(answer.status, 400)
        self.assertIn('Malformed multipart form: unexpected end', answer.details)
        path, _ = self.file(65 * 1024 * 1024)
        status = self.curl('json', '-F', f'f=@{path}', '-o', '/dev/null', '-w', '%{http_code}')
        self.assertEqual(status, b'413')


class EventTests(UploadCase):
    def test_events_come_and_end(self) -> None:
        """With the fields that a browser wants, as text/event-stream; the id of the last one comes back."""
        head = self.curl('ticks', '-i')
        self.assertIn(b'Content-Type: text/event-stream; charset=utf-8\r\n', head)
        self.assertIn(b'Cache-Control: no-cache\r\n', head)
        self.assertTrue(head.endswith(b'event: tick\nid: 3\ndata: {"n":3}\n\n'))
        self.assertEqual(self.curl('ticks', '-H', 'Last-Event-ID: 2'), b'event: tick\nid: 3\ndata: {"n":3}\n\n')

    def test_of_a_plain_iterator(self) -> None:
        """Read in the service threads."""
        self.assertEqual(self.curl('ticks/thread'), b'data: 0\n\ndata: 1\n\ndata: 2\n\n')

    def test_silence_is_filled_until_the_client_goes(self) -> None:
        """Then the service is ended, and its `finally` runs."""
        connection = Connection(self.broker.port())
        connection.send(b'GET /up/slow HTTP/1.1\r\nHost: x\r\n\r\n')
        connection._until(b': keep-alive\n\n')
        connection.drop()
        self.broker.logged('Nobody listens to nothing any more')
