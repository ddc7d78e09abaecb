"""Scripted FTP connections of the test kit have the methods and arguments of the real ones."""

from __future__ import annotations

import inspect
from io import BytesIO

from zatotx import RemoteFileNotFound, Service
from zatotx.connectors.remote_files import RemoteFileSystem
from zatotx.plugins.ftp.testing import SIGNATURES
from zatotx.testing import ServiceTestCase


class Copy(Service):
    """Uses a connection in an async service."""

    name = 'ftp.copy'

    async def handle(self) -> None:
        files = self.out.ftp['Files']
        lines = []
        async with files.open('source', 'r') as source, files.open('target', 'wb', atomic=False) as target:
            while line := await source.readline():
                lines.append(line)
                await target.write(line.upper().encode())
        self.response.payload = {'lines': len(lines), 'exists': await files.exists('other')}


class CopyInThread(Service):
    """The same in a def service, with Zato's calling form."""

    name = 'ftp.copy-in-thread'

    def handle(self) -> None:
        files = self.outgoing.ftp.get('Files')
        with files.open('source') as source, files.open('target', 'w') as target:
            target.write(source.read(3).decode())
        self.response.payload = {'names': files.listdir('in', files_only=True)}


class DoubleTests(ServiceTestCase):
    def test_signatures(self) -> None:
        """The double knows the methods of the real connection, and their arguments by position."""
        signature = SIGNATURES['ftp']
        real = {name: method for name, method in vars(RemoteFileSystem).items()
                if not name.startswith('_') and callable(method)}  # fmt: skip
        self.assertEqual(set(signature.methods), set(real))
        for name, method in real.items():
            parameters = list(inspect.signature(method).parameters.values())[1:]
            positional = [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
            options = {each.name for each in parameters if each.kind is each.KEYWORD_ONLY}
            self.assertEqual(positional, list(signature.arguments.get(name, ())), name)
            self.assertLessEqual(options, set(signature.options), name)

    def test_async(self) -> None:
        """Files are scripted by their content, or by a file that gets what is written."""
        files, written = self.outgoing.ftp['Files'], BytesIO()
        files.on('open', 'source', 'r').answers('a\nb\n')
        files.on('open', 'target').answers(written)
        files.on('exists').answers(False)
        self.assertEqual(self.call(Copy).payload, {'lines': 2, 'exists': False})
        self.assertEqual(written.getvalue(), b'A\nB\n')

    def test_in_thread(self) -> None:
        """The same in a def service."""
        files, written = self.outgoing.ftp['Files'], BytesIO()
        files.on('open', 'source').answers(b'content')
        files.on('open', 'target').answers(written)
        files.on('listdir').answers(['x'])
        self.assertEqual(self.call(CopyInThread).payload, {'names': ['x']})
        self.assertEqual(written.getvalue(), b'con')

    def test_errors(self) -> None:
        """Errors of files are scripted; methods that there are not fail the test."""
        self.outgoing.ftp['Files'].on('open').raises(RemoteFileNotFound('c', 'no such file', 'source'))
        with self.assertRaises(RemoteFileNotFound):
            self.call(CopyInThread)
        self.assertRaises(AttributeError, SIGNATURES['ftp'].check_method, 'chmod', SIGNATURES['ftp'].methods)
        self.assertRaises(TypeError, SIGNATURES['ftp'].check_arguments, 'remove', ('a', 'b'), {})
