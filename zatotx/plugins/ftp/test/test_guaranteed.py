"""FTP connections with `delivery: guaranteed`."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support import ftp_servers
from trial_tests.support.kind_contracts import GuaranteedContract
from trial_tests.support.ports import free_port
from zatotx.connectors.guaranteed_delivery import StoredCall
from zatotx.connectors.guaranteed_file_operations import MAX_STORED, METHODS
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.outgoing import IOutgoingKind
from zatotx.model.errors import BadRequest, RemoteFileError
from zatotx.plugins.ftp.client.errors import CommandRejected, TransferFailed
from zatotx.plugins.ftp.error_mapping import is_final, map_error
from zatotx.plugins.ftp.outgoing import SENDS, _prepare_stored, make_outgoing
from zatotx.plugins.ftp.schema.outgoing_ftp import FtpOutgoing
from zatotx.plugins.ftp.wire import FtpReply
from zatotx.schema.delivery_fields import GUARANTEED
from zatotx.schema.snapshot import StoredObject


class FtpGuaranteedTests(GuaranteedContract):
    """The contract, with pyftpdlib."""

    object_type, namespace = 'outgoing_ftp', 'ftp'

    def make_outgoing(self, context: OutgoingContext) -> IOutgoingKind:
        return make_outgoing(context)

    def setUp(self) -> None:
        super().setUp()
        self.server = ftp_servers.pyftpdlib()
        self.directory = f'guaranteed-{self.id().rpartition(".")[2]}'
        self.server.write(f'{self.directory}/keep', b'')

    def objects(self, *, is_reachable: bool) -> list[StoredObject]:
        port = self.server.port if is_reachable else free_port()
        value = FtpOutgoing(name='peer', host='127.0.0.1', port=port, timeout=20, user=ftp_servers.USER,
                            password=ftp_servers.PASSWORD, delivery=GUARANTEED)  # fmt: skip
        return [StoredObject(1, 'outgoing_ftp', value, 1)]

    def send(self, connection: Any, text: str) -> Any:
        return connection.setcontents(f'{self.directory}/{text}', text)

    def send_wrong(self, connection: Any) -> Any:
        return connection.setcontents(f'{self.directory}/missing/x', 'a')

    def send_unstorable(self, connection: Any) -> Any:
        return connection.setcontents('x', iter([b'a']))

    async def received(self) -> list[str]:
        names = (path.name for path in (self.server.root / self.directory).iterdir())
        return sorted(name for name in names if name != 'keep')

    async def stored(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Store a call, and take its message out of the stream."""
        connection = await self.configure(is_reachable=True)
        await getattr(connection, method)(*args, **kwargs)
        (message,) = self.messages()
        self.work.queues.clear()
        self.work.ordered.clear()
        return message

    async def test_repetitions(self) -> None:
        """Every operation that was done before succeeds, but for appending."""
        here = self.directory
        for method, args, expected in (
            ('makedir', (f'{here}/d',), ['d']), ('setcontents', (f'{here}/d/x', b'\xff'), ['d']),
            ('rename', (f'{here}/d/x', f'{here}/y'), ['d', 'y']), ('remove', (f'{here}/y',), ['d']),
            ('removedir', (f'{here}/d',), []),
        ):  # fmt: skip
            message = await self.stored(method, *args)
            for _ in range(2):
                if method != 'setcontents' or (self.server.root / here / 'd').exists():
                    await self.deliver(message)
            self.assertEqual(await self.received(), expected, method)

    async def test_contents(self) -> None:
        """Text keeps its encoding, bytes and modes are kept; both are appended."""
        here = self.directory
        for method, args, kwargs, expected in (
            ('setcontents', ('žluť', 'iso8859-2'), {}, 'žluť'.encode('iso8859-2')),
            ('appendcontents', (b'\x00\xff',), {}, 'žluť'.encode('iso8859-2') + b'\x00\xff'),
            ('setcontents', (), {'data': 'ö', 'atomic': False}, 'ö'.encode()),
        ):
            message = await self.stored(method, f'{here}/x', *args, **kwargs)
            shown = msgspec.json.decode(msgspec.json.encode(message.payload))  # as a dead letter is edited
            await self.deliver(msgspec.structs.replace(message, payload=shown))
            self.assertEqual((self.server.root / here / 'x').read_bytes(), expected)

    async def test_rename_of_nothing(self) -> None:
        """What has neither its old nor its new name is an error, and not repeated."""
        message = await self.stored('rename', f'{self.directory}/a', f'{self.directory}/b')
        await self.failed(message, BadRequest)

    async def test_methods_that_are_direct(self) -> None:
        """Reading, streams and local files are not stored."""
        connection = await self.configure(is_reachable=True)
        async with connection.open(f'{self.directory}/streamed', 'wb') as file:
            await file.write(b'direct')
        self.assertEqual(await connection.listdir(self.directory), ['keep', 'streamed'])
        self.assertEqual(self.messages(), [])


class StoredFormTests(SynchronousTestCase):
    def prepare(self, method: str, *args: Any, **kwargs: Any) -> StoredCall | None:
        """The stored form of a call."""
        value = FtpOutgoing(name='Files', host='x')
        return _prepare_stored(value, StoredCall(method=method, args=args, kwargs=kwargs), 'id')

    def test_arguments(self) -> None:
        """Mistakes are found when the call is stored."""
        for error, reason, method, args in (
            (ValueError, r"the path 'a\\nDELE b' ", 'remove', ('a\nDELE b',)),
            (TypeError, 'path is text, not bytes', 'remove', (b'a',)),
            (TypeError, r'rename\(\) needs dst', 'rename', ('a',)),
            (TypeError, 'a file or an iterator: read it first', 'setcontents', ('a', [b'x'])),
            (ValueError, f'no more than {MAX_STORED} are stored', 'setcontents', ('a', bytes(MAX_STORED + 1))),
            (UnicodeEncodeError, 'latin-1', 'setcontents', ('a', '€', 'latin-1')),
        ):
            with self.assertRaisesRegex(error, reason):
                self.prepare(method, *args)
        stored = self.prepare('setcontents', 'a', memoryview(b'x'), atomic=True)
        assert stored is not None
        self.assertEqual((stored.kwargs, stored.order_key), ({'path': 'a', 'text': 'x', 'atomic': True}, 'ftp:Files'))

    def test_names(self) -> None:
        """The stored methods are those of the type."""
        self.assertEqual(set(SENDS), set(METHODS))

    def test_which_errors_are_final(self) -> None:
        """Rejections of 5yz, unless the disk is full; nothing else."""
        found = {}
        for code in (450, 452, 500, 550, 552, 553):
            error = map_error(CommandRejected(FtpReply(code, (f'{code} no',)), 'x'), 'T', 'cid')
            error.__cause__ = CommandRejected(FtpReply(code, (f'{code} no',)), 'x')
            assert isinstance(error, RemoteFileError)
            found[code] = is_final(error)
        self.assertEqual(found, {450: False, 452: False, 500: True, 550: True, 552: False, 553: True})
        cut = RemoteFileError('cid', 'cut')
        cut.__cause__ = TransferFailed('it was cut')
        self.assertFalse(is_final(cut))


del GuaranteedContract  # else it would be collected
