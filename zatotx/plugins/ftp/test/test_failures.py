"""Servers that fail, lie or say nothing: what services see, and that nothing is left open."""

from __future__ import annotations

import socket
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from trial_tests.support.calling import Asking
from trial_tests.support.scripted_ftp import ScriptedControl, ScriptedFtpServer, WithFtpConnections
from trial_tests.support.waiting import allowed
from zatotx.connectors.remote_files import RemoteFileSystem
from zatotx.model.errors import (
    BadGateway,
    RemoteFileError,
    RemoteFileNotFound,
    RemoteStorageFull,
    ServiceUnavailable,
    Timeout,
)
from zatotx.plugins.ftp.schema.outgoing_ftp import FtpRetry
from zatotx.schema.circuit_breaker import CircuitBreakerSettings

SHORT = 0.4  # seconds


class LoginTests(WithFtpConnections):
    async def test_wrong_password(self) -> None:
        """A rejected login is ServiceUnavailable; the password is in no text, even if the server repeats it."""
        server = self.serve(PASS='530 sEcReT is wrong')
        files = await self.files(server.port, acct='')
        error = await self.failure(files.listdir(), ServiceUnavailable)
        self.assertIn('does not accept the account: 530 ****** is wrong', error.msg)
        self.assertIn('Outgoing connection Files (ftp)', error.msg)
        (finding,) = self.outgoing.findings()
        self.assertNotIn('sEcReT', finding)
        self.assertNotIn('sEcReT', repr(self.connection._value))

    async def test_account(self) -> None:
        """A server that asks for an account gets it; an anonymous login needs no settings."""
        server = self.serve(PASS='332 account', ACCT='230 in')
        await (await self.files(server.port, acct='sales')).ping()
        self.assertIn('ACCT sales', server.commands)
        other = self.serve(USER='230 welcome')
        await (await self.files(other.port, user='', password='')).ping()
        self.assertEqual(other.commands[0], 'USER anonymous')
        self.assertNotIn('PASS', ' '.join(other.commands))

    async def test_too_many_users(self) -> None:
        """A server that takes no connection is ServiceUnavailable, with its reason."""
        server = self.serve(**{'': '421 too many users'})
        error = await self.failure((await self.files(server.port)).listdir(), ServiceUnavailable)
        self.assertIn('421 too many users', error.msg)

    async def test_not_ftp(self) -> None:
        """A server of another protocol is BadGateway."""
        server = self.serve(**{'': 'SSH-2.0-OpenSSH_9.9'})
        error = await self.failure((await self.files(server.port)).listdir(), BadGateway)
        self.assertIn('its reply is not FTP', error.msg)

    async def test_no_tls(self) -> None:
        """A server without TLS gets no password."""
        server = self.serve(AUTH='502 no')
        await self.failure((await self.files(server.port, tls=True)).listdir(), RemoteFileError)
        self.assertEqual(server.commands, ['AUTH TLS'])

    async def test_injected_reply(self) -> None:
        """What a man in the middle sends in plain text behind the reply to AUTH does not count as encrypted."""
        server = self.serve(AUTH='234 go on\r\n230 you are in')
        error = await self.failure((await self.files(server.port, tls=True)).listdir(), ServiceUnavailable)
        self.assertIn('before TLS began', error.msg)
        self.assertEqual(server.commands, ['AUTH TLS'])

    async def test_failed_handshake(self) -> None:
        """A server that does not speak TLS after all is ServiceUnavailable."""

        def nonsense(control: Any, argument: str) -> None:
            control.sendLine(b'234 go on')
            control.rawDataReceived = lambda data: control.transport.write(b'what?\r\n')
            control.setRawMode()

        server = self.serve(AUTH=nonsense)
        error = await self.failure((await self.files(server.port, tls=True)).listdir(), ServiceUnavailable)
        self.assertIn('TLS could not be agreed on', error.msg)


class FrozenServerTests(WithFtpConnections):
    """The contract has a server that accepts and is silent; these are silent later."""

    async def ended(self, calling: Any) -> Any:
        """What a call raises that must end after SHORT seconds."""
        began = self.reactor.seconds()
        error = await self.failure(calling, Timeout)
        elapsed = self.reactor.seconds() - began
        self.assertGreaterEqual(elapsed, SHORT * 0.9)
        self.assertLess(elapsed, allowed(SHORT * 5))  # a busy machine: ProgressTests are exact
        self.assertIn('Outgoing connection Files (ftp)', error.msg)
        return error

    async def test_login(self) -> None:
        """At the password."""
        server = self.serve(PASS=None)
        await self.ended((await self.files(server.port, timeout=SHORT)).listdir())
        await self.until(lambda: server.lost == 1)

    async def test_connecting(self) -> None:
        """At the TCP connection; cancelling that is no error of the server."""
        with socket.create_server(('127.0.0.1', 0), backlog=0) as full:  # its kernel answers to no more connections
            port = full.getsockname()[1]
            waiting = [socket.socket() for _ in range(4)]
            for each in waiting:
                self.addCleanup(each.close)
                each.setblocking(False)
                each.connect_ex(('127.0.0.1', port))
            await self.sleep(0.05)
            await self.ended((await self.files(port, timeout=SHORT)).listdir())
            files = await self.files(port)
            connecting = Deferred.fromCoroutine(files.listdir())
            await self.sleep(0.05)
            connecting.cancel()
            await self.assertFailure(connecting, CancelledError)

    async def test_operations(self) -> None:
        """At any command, and at the next one, which uses another connection."""
        server = self.serve(DELE=None, RNFR='350 go on', RNTO=None, MKD=None)
        files = await self.files(server.port, timeout=SHORT)
        await self.ended(files.remove('x'))
        await self.ended(files.rename('x', 'y'))
        await self.ended(files.makedir('x'))
        self.assertTrue(await files.ping())
        self.assertEqual(len(server.controls), 4)

    async def test_download(self) -> None:
        """In a download, before and after some of it came; the timeout runs from the last byte."""
        server = self.serve(RETR='150 here')
        files = await self.files(server.port, timeout=SHORT)
        await self.ended(files.getcontents('x'))
        server.data.clear()

        async def read() -> None:
            await files.getcontents('x')

        reading = Deferred.fromCoroutine(read())
        data = await server.data_connection()
        for _ in range(4):
            await self.sleep(SHORT / 2)
            self.assertFalse(reading.called)
            data.transport.write(b'x')  # type: ignore[union-attr]
        await self.ended(_awaited(reading))

    async def test_last_reply(self) -> None:
        """In an upload, after its last byte."""
        server = self.serve(STOR='150 go on')
        files = await self.files(server.port, timeout=SHORT)
        await self.ended(files.setcontents('x', b'content'))
        self.assertEqual(self.figures()['zatotx_outgoing_in_flight'], 0)

    async def test_upload(self) -> None:
        """In an upload, when the server does not read."""
        server = self.serve(STOR=_pause)
        files = await self.files(server.port, timeout=SHORT)
        await self.ended(files.setcontents('x', bytes(20_000_000)))

    async def test_deadline_of_an_open_file(self) -> None:
        """A file that a service keeps open is closed at the deadline of the service."""
        server = self.serve(RETR='150 here')
        files = await self.files(server.port, Asking(deadline=self.reactor.seconds() + SHORT))
        file = await files.open('x')
        await self.until(lambda: self.connection.pool.idle_count)
        self.assertIn('ABOR', server.commands)
        await self.failure(_awaited(file.read()), RemoteFileError)

    async def test_full_pool(self) -> None:
        """The wait for a connection counts."""
        server = self.serve(RETR='150 here')
        files = await self.files(server.port, timeout=SHORT, pool_size=1)
        async with files.open('x'):
            await self.ended(files.exists('y'))


class LostConnectionTests(WithFtpConnections):
    async def test_stale(self) -> None:
        """A connection that the server has closed while it was idle is replaced, with or without a last word."""
        for last_word in (b'', b'421 idle\r\n'):
            server = self.serve(DELE='250 ok')
            files = await self.files(server.port)
            await files.remove('x')
            control: Any = server.controls[0]
            control.transport.write(last_word)
            control.transport.loseConnection()
            if last_word:  # the command crosses the last word
                await self.sleep(0.05)
            await files.remove('x')
            self.assertEqual(len(server.controls), 2)

    async def test_closed_at_the_command(self) -> None:
        """A server that closes at the first command after an idle time is asked once more, at another one never."""
        closes = 1

        def close_once(control: ScriptedControl, argument: str) -> None:
            nonlocal closes
            if closes:
                closes -= 1
                transport: Any = control.transport
                transport.loseConnection()
            else:
                control.sendLine(b'250 ok')

        server = self.serve(DELE=close_once)
        files = await self.files(server.port)
        await files.ping()
        await files.remove('x')
        self.assertEqual(len(server.controls), 2)
        closes = 2
        await self.failure(files.remove('x'), ServiceUnavailable)

    async def test_421(self) -> None:
        """A server that ends the session in the middle of an operation is ServiceUnavailable."""
        server = self.serve(RNFR='350 go on', RNTO='421 shutting down')
        error = await self.failure((await self.files(server.port)).rename('x', 'y'), ServiceUnavailable)
        self.assertIn('421 shutting down', error.msg)

    async def test_retries(self) -> None:
        """Operations that read are repeated, and any other one if the server could not be connected to: never one
        that the server may have executed. Rejections are final."""
        refusals = 2

        def refuse(control: ScriptedControl, argument: str) -> None:
            nonlocal refusals
            refusals -= 1
            control.sendLine(b'220 ready' if refusals < 0 else b'421 too many users')

        server = self.serve(**{'': refuse}, DELE='421 shutting down', RNFR='550 no')
        server.replies['MLSD'] = server.replies['LIST'] = '421 shutting down'
        files = await self.files(server.port, retry=FtpRetry(attempts=3, backoff=0.01))
        await self.failure(files.remove('x'), ServiceUnavailable)
        self.assertEqual((len(server.controls), server.commands.count('DELE x')), (3, 1))
        await self.failure(files.listdir(), ServiceUnavailable)
        self.assertEqual(server.commands.count('LIST'), 3)
        await self.failure(files.rename('x', 'y'), RemoteFileError)
        self.assertEqual(server.commands.count('RNFR x'), 1)
        self.assertEqual(self.meters.outgoing('ftp').get('Files').retries, 4)

    async def test_circuit_breaker(self) -> None:
        """Servers that fail open the circuit; a file that is missing does not."""
        server = self.serve(DELE='550 no', PASS='530 no')
        breaker = CircuitBreakerSettings(failures=2, reset=60)
        files = await self.files(server.port, circuit_breaker=breaker)
        for _ in range(3):
            await self.failure(files.listdir(), ServiceUnavailable)
        self.assertEqual(len(server.controls), 2)
        self.assertIn('cut off by its circuit breaker', ' '.join(self.outgoing.findings()))
        server.replies['PASS'] = '230 in'
        files = await self.files(server.port, circuit_breaker=CircuitBreakerSettings(failures=2, reset=61))
        for _ in range(5):
            await self.failure(files.remove('x'), RemoteFileError)


class TransferTests(WithFtpConnections):
    async def test_passive_address(self) -> None:
        """The address in the reply to PASV is not used: the data connection goes to the server itself. EPSV comes
        first, and is not asked for again where it is unknown."""
        server = self.serve(EPSV='500 what?')
        server.replies['PASV'] = f'227 ok (10,255,255,1,{server.data_port // 256},{server.data_port % 256})'
        server.replies['RETR'] = server.sends(b'content')
        files = await self.files(server.port)
        for _ in range(2):
            self.assertEqual(await files.getcontents('x'), b'content')
        self.assertEqual([line for line in server.commands if line in ('EPSV', 'PASV')], ['EPSV', 'PASV', 'PASV'])

    async def test_cut_download(self) -> None:
        """A data connection that is reset is an error, whatever the server says; so is one that ends early."""
        server = self.serve()
        server.replies['RETR'] = server.sends(b'half', cut=True)
        files = await self.files(server.port)
        error = await self.failure(files.getcontents('x'), RemoteFileError)
        self.assertIn('the data connection was cut', error.msg)
        self.assertEqual(error.path, 'x')
        server.replies['RETR'] = server.sends(b'half', '426 failure writing')
        error = await self.failure(files.getcontents('x'), RemoteFileError)
        self.assertIn('426 failure writing', error.msg)
        self.assertEqual(len(server.controls), 1)

    async def test_wrong_size(self) -> None:
        """A server that lies about SIZE: what arrives must have it, and what was sent, too. `check_size` turns it
        off."""
        server = self.serve(FEAT='211-features\r\n SIZE\r\n211 end', SIZE='213 5', STOR='', DELE='250 ok')
        server.replies['RETR'] = server.sends(b'four')
        server.replies['STOR'] = server.takes()
        files = await self.files(server.port)
        error = await self.failure(files.getcontents('x'), RemoteFileError)
        self.assertIn('4 bytes arrived of a file of 5', error.msg)
        error = await self.failure(files.setcontents('x', b'four'), RemoteFileError)
        self.assertIn('the server has 5 bytes of the 4 that were sent', error.msg)
        await self.until(lambda: server.commands[-1].startswith('DELE x.'))
        self.assertNotIn('RNFR', ' '.join(server.commands))
        files = await self.files(server.port, check_size=False)
        self.assertEqual(await files.getcontents('x'), b'four')

    async def test_too_large(self) -> None:
        """A file that is too large for memory is not read, by its size or when it has come so far."""
        server = self.serve(FEAT='211-features\r\n SIZE\r\n211 end', SIZE='213 5000', ABOR='226 ok')
        files = await self.files(server.port, max_content_size=1024)
        error = await self.failure(files.getcontents('x'), RemoteFileError)
        self.assertIn('max_content_size', error.msg)
        self.assertNotIn('RETR', ' '.join(server.commands))
        server.replies['SIZE'] = '550 no'
        server.replies['RETR'] = server.sends(bytes(5000))
        await self.failure(files.getcontents('x'), RemoteFileError)
        server.replies['MLSD'] = None
        server.replies['LIST'] = server.sends(bytes(5000))
        await self.failure(files.listdir(), RemoteFileError)

    async def test_storage_full(self) -> None:
        """A full disk is RemoteStorageFull, and the incomplete file is removed; the old one stays."""
        for code in ('452', '552'):
            server = self.serve(DELE='250 ok')
            server.replies['STOR'] = server.takes(f'{code} no space')
            files = await self.files(server.port)
            error = await self.failure(files.setcontents('x', b'content'), RemoteStorageFull)
            self.assertIn(f'{code} no space', error.msg)
            await self.until(partial(self.is_removed, server))

    def is_removed(self, server: ScriptedFtpServer) -> bool:
        """Whether the temporary file was removed."""
        return server.commands[-1].startswith('DELE x.')

    async def test_full_at_once(self) -> None:
        """A server that closes the data connection in the middle says why."""

        def full(control: ScriptedControl, argument: str) -> None:
            def connected(data: Any) -> None:
                data.transport.abortConnection()
                control.sendLine(b'552 quota exceeded')

            control.sendLine(b'150 go on')
            control.server.data_connection().addCallback(connected)

        server = self.serve(STOR=full, DELE='250 ok')
        await self.failure((await self.files(server.port)).setcontents('x', bytes(30_000_000)), RemoteStorageFull)

    async def test_missing(self) -> None:
        """550 is RemoteFileNotFound if nothing is there, else RemoteFileError with the server's reason."""
        server = self.serve(FEAT='211-features\r\n MLST type*;\r\n211 end', DELE='550 no', MLST='550 no such file')
        files = await self.files(server.port)
        error = await self.failure(files.remove('x'), RemoteFileNotFound)
        self.assertEqual((error.path, error.msg), ('x', 'Outgoing connection Files (ftp): there is no x'))
        server.replies['MLST'] = '250-here\r\n type=file;size=1; x\r\n250 end'
        error = await self.failure(files.remove('x'), RemoteFileError)
        self.assertIn('x: the server rejects it: 550 no', error.msg)

    async def test_paths_with_line_ends(self) -> None:
        """A path cannot carry a second command; nothing is sent."""
        server = self.serve()
        files = await self.files(server.port)
        for calling in (files.remove('a\r\nDELE b'), files.rename('a', 'b\nc'), files.getcontents('a\0'),
                        files.setcontents('a\n', b''), files.listdir('a\n'), files.exists('a\n')):  # fmt: skip
            await self.failure(calling, ValueError)
        self.assertEqual(server.commands, [])


class CancellationTests(WithFtpConnections):
    async def cancelled(self, calling: Any, ready: Any) -> None:
        """Cancel a call when the server is ready: it ends at once."""
        deferred = Deferred.fromCoroutine(calling)
        await self.until(ready)
        deferred.cancel()
        await self.assertFailure(deferred, CancelledError)
        self.assertEqual(self.figures()['zatotx_outgoing_in_flight'], 0)

    async def cancelled_too(self, other: Deferred[Any], calling: Any, ready: Any) -> None:
        """Cancel two calls, the one that waits for the other first."""
        waiting = Deferred.fromCoroutine(calling)
        await self.until(ready)
        for deferred in (waiting, other):
            deferred.cancel()
            await self.assertFailure(deferred, CancelledError)
        self.assertEqual(self.figures()['zatotx_outgoing_in_flight'], 0)

    async def test_download(self) -> None:
        """ABOR ends a download; the session is used again."""
        server = self.serve(RETR='150 here', ABOR='426 aborted\r\n226 abort successful')
        files = await self.files(server.port)
        await self.cancelled(files.getcontents('x'), lambda: server.data)
        await self.until(lambda: self.connection.pool.idle_count)
        self.assertEqual(server.commands[-2:], ['ABOR', 'NOOP'])
        await files.ping()
        self.assertEqual(len(server.controls), 1)

    async def test_upload(self) -> None:
        """A cancelled upload is reset and not finished, so that the server does not take it for a whole file; its
        temporary file is removed."""
        server = self.serve(STOR='150 go on', ABOR='226 ok', DELE='250 ok')
        files = await self.files(server.port)

        async def endless() -> Any:
            while True:
                yield b'x' * 1000
                await self.sleep(0.01)

        await self.cancelled(files.setcontents('x', endless()), lambda: server.data and server.data[0].received)
        await self.until(lambda: server.commands[-1].startswith('DELE x.'))
        reason: Failure | None = server.data[0].reason
        assert reason is not None
        self.assertIsNone(reason.check(ConnectionDone))

    async def test_deaf_server(self) -> None:
        """A server that does not reply to ABOR in time loses the connection."""
        server = self.serve(RETR='150 here', ABOR=None, NOOP=None)
        files = await self.files(server.port, timeout=SHORT)
        await self.cancelled(files.getcontents('x'), lambda: server.data)
        await self.until(lambda: server.lost)
        self.assertEqual(self.connection.pool.idle_count, 0)

    async def test_waiting(self) -> None:
        """A call that waits for a connection, or for the login, can be cancelled."""
        server = self.serve(PASS=None)
        files = await self.files(server.port, pool_size=1)
        connecting = Deferred.fromCoroutine(files.ping())
        await self.cancelled_too(connecting, files.ping(), lambda: 'PASS sEcReT' in server.commands)
        await self.until(lambda: server.lost)


class LiveEditTests(WithFtpConnections):
    async def test_edit(self) -> None:
        """After an edit the idle connections of the old configuration are closed; a transfer under way ends."""
        old, new = self.serve(RETR='150 here'), self.serve()
        files = await self.files(old.port)
        await files.ping()
        file = await files.open('x')
        data = await old.data_connection()
        other: RemoteFileSystem = await self.files(new.port)
        await other.ping()
        self.assertEqual(len(new.controls), 1)
        transport: Any = data.transport
        transport.write(b'rest')
        transport.loseConnection()
        old.controls[0].sendLine(b'226 done')
        self.assertEqual(await file.read(), b'rest')
        await self.until(lambda: old.lost)

    async def test_stop(self) -> None:
        """Stopping cuts what does not end in time."""
        server: ScriptedFtpServer = self.serve(RETR='150 here')
        files = await self.files(server.port)
        await files.open('x')
        await self.outgoing.stop()
        await self.until(lambda: server.lost)


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


def _pause(control: ScriptedControl, argument: str) -> None:
    """Accept an upload, and read nothing of it."""

    def connected(data: Any) -> None:
        data.transport.pauseProducing()

    control.server.data_connection().addCallback(connected)
    control.sendLine(b'150 go on')
