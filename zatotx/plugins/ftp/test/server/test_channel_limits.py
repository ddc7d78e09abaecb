"""FTP channels with clients that are slow, hostile or unlucky."""

from __future__ import annotations

import errno
import ftplib
import os
import socket
from functools import partial
from io import BytesIO
from typing import Any

from twisted.internet.threads import deferToThread

from zatotx.plugins.ftp.test.server.channel_environment import TIMEOUT, ChannelEnvironment, error_of


class LimitTests(ChannelEnvironment):
    """Timeouts, floods, active mode, a full disk."""

    def talk(self, *sent: bytes) -> Any:
        """Send bytes, and read replies until the server closes the connection."""

        def run() -> bytes:
            with socket.create_connection(('127.0.0.1', self.port), TIMEOUT) as client:
                for data in sent:
                    client.sendall(data)
                received = b''
                while more := client.recv(65_536):
                    received += more
                return received

        return deferToThread(run)

    async def test_idle(self) -> None:
        """A client without commands is sent away with 421."""
        await self.configure(None, idle_timeout=0.3)
        self.assertIn(b'\r\n421 No command for too long\r\n', await self.talk(b'NOOP\r\n'))

    async def test_stalled_transfer(self) -> None:
        """A transfer without progress ends with 426, and the client can go on."""
        await self.configure(None, transfer_timeout=0.3)

        def stall(client: ftplib.FTP) -> tuple[str, str]:
            with client.transfercmd('STOR a') as data:
                data.sendall(b'x')
                return error_of(client.voidresp), client.voidcmd('NOOP')

        stalled, after = await self.run_client(stall)
        self.assertEqual((stalled[:3], after[:3], self.payloads), ('426', '200', []))

    async def test_long_line(self) -> None:
        """A line without end is refused with 500, and the connection is closed."""
        await self.configure()
        self.assertIn(b'\r\n500 The line is too long\r\n', await self.talk(b'CWD ' + b'x' * 10_000))

    async def test_flood(self) -> None:
        """Thousands of commands at once are answered one by one."""
        await self.configure()
        replies = await self.talk(b'NOOP\r\n' * 5000, b'QUIT\r\n')
        self.assertEqual(replies.count(b'200 OK\r\n'), 5000)
        self.assertTrue(replies.endswith(b'221 Goodbye\r\n'))

    async def test_flood_during_transfer(self) -> None:
        """More commands than fit during a transfer end the connection with 421, and the upload is cut."""
        await self.configure()

        def flood(client: ftplib.FTP) -> bytes:
            assert client.sock is not None
            with client.transfercmd('STOR a') as data:
                data.sendall(b'x')
                client.sock.sendall(b'NOOP\r\n' * 100)
                assert client.file is not None
                reply = client.file.readline().encode()
            client.close()
            return reply

        self.assertTrue((await self.run_client(flood)).startswith(b'421'))
        await self.until(lambda: self.channels.counters.cut_uploads == 1)
        self.assertEqual(self.payloads, [])

    async def test_active_mode(self) -> None:
        """PORT and EPRT are off; switched on, they reach the client's own address and no other one (RFC 2577)."""
        await self.configure()

        def refused(client: ftplib.FTP) -> list[str]:
            return [error_of(partial(client.voidcmd, command))[:3] for command in
                    ('PORT 127,0,0,1,200,0', 'PORT 10,0,0,1,200,0', 'EPRT |1|127.0.0.1|22|', 'EPRT |1|10.0.0.1|5000|',
                     'EPRT |2|::1|5000|')]  # fmt: skip

        self.assertEqual(await self.run_client(refused), ['502'] * 5)
        await self.configure(None, allow_active=True)
        self.assertEqual(await self.run_client(refused), ['', '504', '504', '504', '504'])

        def active(client: ftplib.FTP) -> None:
            client.set_pasv(False)
            client.storbinary('STOR active', BytesIO(b'x'))

        await self.run_client(active)
        self.assertEqual([each['name'] for each in self.payloads], ['active'])

    async def test_stolen_data_connection(self) -> None:
        """A data connection from another address than the client's is closed."""
        await self.configure()

        def steal(client: ftplib.FTP) -> tuple[bytes, str]:
            host, port = client.makepasv()
            with socket.create_connection((host, port), TIMEOUT, source_address=('127.0.0.2', 0)) as thief:
                stolen = thief.recv(100)
            with socket.create_connection((host, port), TIMEOUT) as own:
                client.sendcmd('STOR mine')
                own.sendall(b'x')
            return stolen, client.voidresp()

        stolen, reply = await self.run_client(steal)
        self.assertEqual((stolen, reply[:3]), (b'', '226'))

    async def test_passive_ports(self) -> None:
        """Passive ports come from the range, and PASV names the configured address; a full range is 425."""
        with socket.create_server(('127.0.0.1', 0)) as taken:
            port = taken.getsockname()[1]
            await self.configure(None, passive_ports=str(port), passive_address='192.0.2.7')
            reply = await self.run_client(lambda client: error_of(lambda: client.voidcmd('PASV')))
            self.assertTrue(reply.startswith('425'), reply)

        def passive(client: ftplib.FTP) -> str:
            return client.sendcmd('PASV')

        host, found = ftplib.parse227(await self.run_client(passive))
        self.assertEqual((host, found), ('192.0.2.7', port))

    async def test_disk_full(self) -> None:
        """A disk that is full ends the upload with 452; nothing is delivered, and the upload can be resumed."""
        await self.configure()
        write = os.write

        def full(descriptor: int, data: bytes) -> int:
            if len(data) > 50_000:
                raise OSError(errno.ENOSPC, 'No space left on device')
            return write(descriptor, data)

        patched = self.patch(os, 'write', full)

        def upload(client: ftplib.FTP) -> str:
            data = client.transfercmd('STOR big')
            try:
                data.sendall(b'x' * 3_000_000)
            except OSError:  # the server has cut the connection
                data.close()
            data.close()
            return error_of(client.voidresp)

        reply = await self.run_client(upload)
        patched.restore()
        self.assertTrue(reply.startswith('452'), reply)
        self.assertEqual(self.payloads, [])
        size = await self.run_client(lambda client: client.size('big'))
        await self.run_client(lambda client: client.storbinary('STOR big', BytesIO(b'rest'), rest=size))
        self.assertEqual(len(self.payloads), 1)

    async def test_reading(self) -> None:
        """Files can be read where the channel allows it, also from an offset; otherwise not."""
        data = os.urandom(1_000_000)
        self.directory.mkdir()
        (self.directory / 'a').write_bytes(data)
        await self.configure()
        reply = await self.run_client(lambda client: error_of(lambda: client.voidcmd('RETR a')))
        self.assertTrue(reply.startswith('550'))
        await self.configure(None, allow_reading=True)

        def read(client: ftplib.FTP) -> list[bytes]:
            received = []
            for offset in (0, 999_000):
                blocks: list[bytes] = []
                client.retrbinary('RETR a', blocks.append, rest=offset)
                received.append(b''.join(blocks))
            return received

        self.assertEqual(await self.run_client(read), [data, data[999_000:]])

    async def test_no_data_connection(self) -> None:
        """A transfer before PASV is 425, and its REST is not kept for the next one."""
        await self.configure()

        def use(client: ftplib.FTP) -> str:
            client.sendcmd('REST 5')
            reply = error_of(lambda: client.voidcmd('STOR a'))
            client.storbinary('STOR a', BytesIO(b'x'))
            return reply

        self.assertTrue((await self.run_client(use)).startswith('425'))
        self.assertEqual([each['size'] for each in self.payloads], [1])
