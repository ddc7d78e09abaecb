"""Outgoing FTP connections with real servers: vsftpd and pyftpdlib, in the clear and over TLS."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.threads import deferToThread

from trial_tests.support import ftp_servers
from trial_tests.support.ftp_servers import PASSWORD, USER, FtpDaemon, Pyftpdlib, Vsftpd
from trial_tests.support.scripted_ftp import WithFtpConnections
from trial_tests.support.waiting import allowed
from zatotx.connectors.remote_files import FileInfo, RemoteFileSystem
from zatotx.model.errors import RemoteFileError, RemoteFileNotFound, RemoteStorageFull, ServiceUnavailable, Timeout

SHORT = 0.5  # seconds
ACCOUNT = {'host': 'localhost', 'user': USER, 'password': PASSWORD}
ANONYMOUS = {'host': 'localhost', 'user': '', 'password': ''}


class Servers(WithFtpConnections):
    async def started(self, server: FtpDaemon) -> Any:
        """A server of the test's own, running."""
        self.addCleanup(server.close)
        await deferToThread(server.start)
        return server

    async def vsftpd(self, **fields: Any) -> RemoteFileSystem:
        """The files of the shared vsftpd, whose listings come from LIST."""
        return await self.files(ftp_servers.vsftpd().port, **{**ANONYMOUS, **fields})

    async def pyftpdlib(self, **fields: Any) -> RemoteFileSystem:
        """The files of the shared pyftpdlib, whose listings come from MLSD."""
        return await self.files(ftp_servers.pyftpdlib().port, **{**ACCOUNT, **fields})

    async def exercise(self, files: RemoteFileSystem) -> None:
        """All that services do with files, in a directory of its own."""
        await files.makedir('work/in', recursive=True)
        await files.makedir('work', allow_recreate=True)
        await files.setcontents('work/a ö.txt', 'žluť')
        await files.setcontents('work/a ö.txt', b'replaced')
        await files.appendcontents('work/a ö.txt', b' twice')
        self.assertEqual(await files.getcontents('work/a ö.txt'), b'replaced twice')
        self.assertEqual(await files.getcontents('work/a ö.txt', 'r'), 'replaced twice')
        self.assertEqual(await files.getsize('work/a ö.txt'), 14)
        self.assertEqual(await files.listdir('work'), ['a ö.txt', 'in'])
        self.assertEqual(await files.listdir('work', '*.txt', full=True), ['work/a ö.txt'])
        self.assertEqual(await files.listdir('work', dirs_only=True, absolute=True), ['/work/in'])
        entries: list[FileInfo] = await files.listdirinfo('work', files_only=True)
        self.assertEqual([(info.name, info.is_file, info.size) for info in entries], [('a ö.txt', True, 14)])
        self.assertIsNotNone(entries[0].modified)
        await files.rename('work/a ö.txt', 'work/in/b;x')
        self.assertEqual([await files.exists('work/a ö.txt'), await files.exists('work/in/b;x')], [False, True])
        self.assertEqual([await files.isfile('work/in/b;x'), await files.isdir('work/in/b;x')], [True, False])
        self.assertEqual([await files.isdir('work/in'), await files.isdir('/'), await files.isdir('no')],
                         [True, True, False])  # fmt: skip
        await self.stream(files)
        for calling in (files.getcontents('work/no'), files.remove('work/no'), files.getsize('work/no'),
                        files.listdir('work/no'), files.removedir('no'), files.rename('work/no', 'x')):  # fmt: skip
            await self.failure(calling, RemoteFileNotFound)
        await self.failure(files.removedir('work'), RemoteFileError)
        await files.remove('work/in/b;x')
        await files.removedir('work', force=True)
        self.assertFalse(await files.exists('work'))

    async def stream(self, files: RemoteFileSystem) -> None:
        """A file is written and read in pieces, and continued in the middle."""
        async with files.open('work/big', 'wb') as file:
            for number in range(40):
                await file.write(bytes([number]) * 100_000)
            self.assertFalse(await files.exists('work/big'))  # it has a temporary name
        pieces = []
        async with files.open('work/big') as file:
            async for piece in file:
                pieces.append(piece)
        whole = b''.join(pieces)
        self.assertEqual(whole, b''.join(bytes([number]) * 100_000 for number in range(40)))
        async with files.open('work/big', offset=3_999_995) as file:
            self.assertEqual(await file.read(3), b'\x27' * 3)
            self.assertEqual(await file.read(), b'\x27' * 2)
            self.assertEqual(await file.read(), b'')
        async with files.open('work/lines', 'w') as file:
            await file.write('ž\nb')
        async with files.open('work/lines', 'r') as file:
            self.assertEqual([await file.readline() for _ in range(3)], ['ž\n', 'b', ''])
        for name in ('work/big', 'work/lines'):
            await files.remove(name)


class PlainTests(Servers):
    async def test_vsftpd(self) -> None:
        """LIST, SIZE, EPSV."""
        await self.exercise(await self.vsftpd())

    async def test_pyftpdlib(self) -> None:
        """MLSD and MLST."""
        await self.exercise(await self.pyftpdlib())

    async def test_passive_address(self) -> None:
        """vsftpd names an address that leads nowhere in its replies to PASV."""
        server = await self.started(Vsftpd(cmds_denied='EPSV'))
        files = await self.files(server.port, **ANONYMOUS)
        await files.setcontents('x', b'content')
        self.assertEqual(await files.getcontents('x'), b'content')

    async def test_active_mode(self) -> None:
        """The server opens the data connections: EPRT, and PORT where that is unknown."""
        await self.exercise(await self.vsftpd(active_mode=True))
        server = await self.started(Vsftpd(cmds_denied='EPRT'))
        files = await self.files(server.port, active_mode=True, **ANONYMOUS)
        await files.setcontents('x', b'content')
        self.assertEqual(await files.getcontents('x'), b'content')

    async def test_live_edit(self) -> None:
        """An edited connection leads to the other server at once; ping and meters say so."""
        files = await self.vsftpd()
        self.assertIn('Sent NOOP, received 200', await files.ping())
        files = await self.pyftpdlib()
        self.assertIn('Sent NOOP, received 200', await files.ping())
        self.assertEqual(self.figures()['zatotx_outgoing_calls'], 2)

    async def test_wrong_password(self) -> None:
        """The password is in no message."""
        files = await self.pyftpdlib(password='wr0ng-pass')
        error = await self.failure(files.listdir(), ServiceUnavailable)
        self.assertIn('530', error.msg)
        self.assertNotIn('wr0ng-pass', error.msg)

    async def test_hostile_names(self) -> None:
        """Names that look like options, patterns or commands are only names."""
        for files in (await self.vsftpd(), await self.pyftpdlib()):
            await files.makedir('-la')
            for name in ('-la/-R', '-la/*', '-la/$(x)', '-la/a -> b', "-la/'; ls", '-la/ x '):
                await files.setcontents(name, name)
                self.assertEqual(await files.getcontents(name), name.encode())
                self.assertTrue(await files.isfile(name))
            self.assertEqual(len(await files.listdir('-la')), 6)
            await files.makedir('[a]*')
            await files.setcontents('[a]*/x', b'x')
            self.assertEqual(await files.listdir('[a]*'), ['x'])
            for name in ('-la', '[a]*'):
                await files.removedir(name, force=True)


class TlsTests(Servers):
    async def test_session_reuse(self) -> None:
        """vsftpd requires that data connections resume the TLS session of the control connection."""
        await self.exercise(await self.vsftpd(tls=True, tls_ca=ftp_servers.vsftpd().ca))

    async def test_explicit(self) -> None:
        """A server that takes no login without TLS."""
        server = await self.started(Pyftpdlib(tls=True, tls_control_required=True, tls_data_required=True))
        await self.exercise(await self.files(server.port, tls=True, tls_ca=server.ca, **ACCOUNT))
        files = await self.files(server.port, **ACCOUNT)
        await self.failure(files.listdir(), ServiceUnavailable)

    async def test_implicit(self) -> None:
        """TLS from the first byte on."""
        server = await self.started(Pyftpdlib(tls=True, implicit=True))
        await self.exercise(await self.files(server.port, tls='implicit', tls_ca=server.ca, **ACCOUNT))

    async def test_certificates(self) -> None:
        """A certificate of an unknown authority, and one for another name, are not accepted."""
        server = ftp_servers.vsftpd()
        files = await self.vsftpd(tls=True)
        error = await self.failure(files.listdir(), ServiceUnavailable)
        self.assertIn('a certificate was not accepted', error.msg)
        self.assertIn('is not signed by an authority', ' '.join(self.outgoing.findings()))
        files = await self.vsftpd(tls=True, tls_ca=server.ca, host='ip6-localhost')
        await self.failure(files.listdir(), ServiceUnavailable)
        files = await self.vsftpd(tls=True, tls_verify=False)
        self.assertTrue(await files.ping())


class FaultTests(Servers):
    async def test_frozen(self) -> None:
        """A server that is frozen ends each call in Timeout; when it goes on, the connection works again."""
        server = await self.started(Vsftpd())
        server.write('big', bytes(60_000_000))
        files = await self.files(server.port, timeout=SHORT, **ANONYMOUS)
        await files.ping()
        async with files.open('big') as file:
            await file.read(1)
            server.freeze()
            began = self.reactor.seconds()
            with self.assertRaises(Timeout):
                await file.read()
            self.assertLess(self.reactor.seconds() - began, allowed(SHORT * 5))
        for calling in (files.listdir(), files.setcontents('x', b'x'), files.ping()):
            await self.failure(calling, Timeout)
        server.thaw()
        files = await self.files(server.port, **ANONYMOUS)
        self.assertTrue(await files.exists('big'))

    async def test_killed(self) -> None:
        """A server that dies in a transfer."""
        server = await self.started(Pyftpdlib())
        server.write('big', bytes(60_000_000))
        files = await self.files(server.port, **ACCOUNT)
        file = await files.open('big')
        await file.read(1)
        server.kill()
        await self.failure(file.read(), ServiceUnavailable)
        await self.failure(files.ping(), ServiceUnavailable)

    async def test_full_disk(self) -> None:
        """A server that cannot write more keeps the old file, and the incomplete one is removed."""
        server = await self.started(Pyftpdlib(max_file_size=1_000_000))
        files = await self.files(server.port, **ACCOUNT)
        await files.setcontents('x', b'old')
        await self.failure(files.setcontents('x', bytes(5_000_000)), RemoteStorageFull, RemoteFileError)
        self.assertEqual(await files.getcontents('x'), b'old')
        await self.until(lambda: [path.name for path in server.root.iterdir()] == ['x'])

    async def test_idle_session(self) -> None:
        """A session that the server has closed is replaced without an error."""
        server = await self.started(Vsftpd(idle_session_timeout='1'))
        files = await self.files(server.port, **ANONYMOUS)
        for _ in range(2):
            await files.setcontents('x', b'x')
            await self.sleep(1.5)
        self.assertEqual(await files.getcontents('x'), b'x')

    def is_gone(self, root: Path) -> bool:
        """Whether nothing is left of a file."""
        return not list(root.glob('given-up*'))

    async def give_up(self, files: RemoteFileSystem) -> None:
        """Raise in the middle of a file."""
        async with files.open('given-up', 'wb') as file:
            await file.write(bytes(5_000_000))
            raise ZeroDivisionError

    async def test_given_up(self) -> None:
        """A block that raises leaves no file and no temporary file behind, and the session usable."""
        for connect, root in ((self.vsftpd, ftp_servers.vsftpd().root), (self.pyftpdlib, ftp_servers.pyftpdlib().root)):
            files = await connect()
            await self.failure(self.give_up(files), ZeroDivisionError)
            await self.until(partial(self.is_gone, root))
            async with files.open('given-up', 'wb') as file:
                await file.write(b'x')
            async with files.open('given-up') as file:  # left before its end
                await file.read(1)
            await self.until(lambda: self.connection.pool.idle_count)
            await files.remove('given-up')


class LocalFileTests(Servers):
    async def test_pieces(self) -> None:
        """What is written in pieces of any size, faster than the server takes it, arrives in order, with TLS too."""
        content = Random(7).randbytes(12_000_000)

        async def pieces() -> AsyncIterator[bytes]:
            random, start = Random(8), 0
            while start < len(content):
                size = random.choice((1, 7, 16_385, 65_536, 65_537, 300_001, 3_000_001))
                yield content[start : start + size]
                start += size

        server = ftp_servers.vsftpd()
        for fields in ({}, {'tls': True, 'tls_ca': server.ca}):
            files = await self.vsftpd(**fields)
            await files.setcontents('pieces', pieces())
            self.assertTrue((server.root / 'pieces').read_bytes() == content, fields)  # a difference is not printed
            await files.remove('pieces')

    async def test_copies(self) -> None:
        """Files are copied to and from this machine, and copies that were cut are continued."""
        content = b''.join(hashlib.sha256(str(number).encode()).digest() for number in range(100_000))
        local, back = Path(self.mktemp()), Path(self.mktemp())
        local.write_bytes(content)
        for files, root in ((await self.vsftpd(), ftp_servers.vsftpd().root),
                            (await self.pyftpdlib(), ftp_servers.pyftpdlib().root)):  # fmt: skip
            await files.upload(str(local), 'copy')
            self.assertEqual((root / 'copy').read_bytes(), content)
            back.write_bytes(content[:1_000_000])
            self.assertEqual(await files.download('copy', str(back), resume=True), len(content))
            self.assertEqual(back.read_bytes(), content)
            await files.remove('copy')
            await files.setcontents('copy', content[:1_234_567])
            await files.upload(str(local), 'copy', resume=True)
            self.assertEqual((root / 'copy').read_bytes(), content)
            await files.remove('copy')
