"""FTP channels with real clients on loopback: ftplib, curl and lftp."""

from __future__ import annotations

import ftplib
import hashlib
import socket
import struct
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from trial_tests.support.kind_contracts import ChannelContract
from zatotx.interfaces.connector_kind import ChannelContext, ConnectorKind, IChannel
from zatotx.model.errors import BadRequest
from zatotx.model.message import Message, Reply
from zatotx.plugins import ftp
from zatotx.plugins.ftp.channels import make_channel
from zatotx.plugins.ftp.schema import FtpChannel
from zatotx.plugins.ftp.server import upload_queue
from zatotx.plugins.ftp.server.file_tree import FileTree
from zatotx.plugins.ftp.server.upload_store import UploadStore
from zatotx.plugins.ftp.test.server.channel_environment import TIMEOUT, ChannelEnvironment, error_of, payload_of
from zatotx.schema.delivery import DeliveryRetry, Idempotency
from zatotx.schema.snapshot import StoredObject


def failing(message: Message) -> Reply:
    """A service that rejects every file."""
    return Reply(400, b'', b'', error=BadRequest('cid', 'not this one'))


class FtpChannelContractTests(ChannelContract):
    """What all channels promise."""

    meter_kind = 'ftp'
    returns_reply = False

    def declaration(self) -> ConnectorKind:
        return ftp.kind

    def make_channel(self, context: ChannelContext) -> IChannel:
        self.directory = str(Path(self.mktemp()).absolute())
        return make_channel(context)

    def objects(self, port: int, service: str, *, is_active: bool = True) -> list[StoredObject]:
        value = FtpChannel(name='in', address=f'tcp:port={port}:interface=127.0.0.1', service=service, user='u',
                           password='p', directory=self.directory, is_active=is_active, retry=None)  # fmt: skip
        return [StoredObject(2, 'channel_ftp', value, 1)]

    def send_text(self, connection: socket.socket, text: bytes) -> None:
        self._file = connection.makefile('rb')
        replies = [self._line()]
        for command in (b'USER u', b'PASS p', b'EPSV'):
            connection.sendall(command + b'\r\n')
            replies.append(self._line())
        port = int(replies[-1].split(b'|')[3])
        with socket.create_connection(('127.0.0.1', port), TIMEOUT) as data:
            connection.sendall(b'STOR message.txt\r\n')
            replies.append(self._line())
            data.sendall(text)
        replies.append(self._line())
        self.last = replies[-1]

    def _line(self) -> bytes:
        line = self._file.readline()
        if not line:
            raise ConnectionResetError
        return line

    def read_reply(self, connection: socket.socket) -> bytes:
        return self.last


class UploadTests(ChannelEnvironment):
    """Uploads, their delivery, and what becomes of them."""

    async def test_delivered(self) -> None:
        """An upload goes to the service with name, path, size, hash, user and delivery id; while the service runs its
        bytes are at the path, also when the name is sent again; afterwards it is in processed/."""
        self.exchange.at_once = None
        await self.configure()
        await self.run_client(lambda client: client.mkd('sub'))
        self.assertTrue((await self.upload('sub/orders.csv', b'first')).startswith('226'))
        await self.upload('sub/orders.csv', b'second')
        first, second = self.payloads
        self.assertEqual(
            {key: first[key] for key in ('name', 'size', 'sha256', 'user', 'redelivered')},
            {'name': 'sub/orders.csv', 'size': 5, 'sha256': hashlib.sha256(b'first').hexdigest(), 'user': 'partner',
             'redelivered': False},
        )  # fmt: skip
        self.assertEqual([Path(each['path']).read_bytes() for each in (first, second)], [b'first', b'second'])
        self.assertEqual(Path(first['path']).name, 'orders.csv')
        self.assertNotEqual(first['delivery_id'], second['delivery_id'])
        self.assertEqual(self.exchange.delivered[0].inbound.service, 'files.received')
        for number, delivery in enumerate(tuple(self.exchange.delivered), 1):
            delivery.answer(b'')
            await self.until_processed(number)
        self.assertEqual(self.files('processed'),
                         sorted(['sub/orders.csv', f'sub/orders.{second["delivery_id"]}.csv']))  # fmt: skip
        await self.until(lambda: self.files('.zatotx/received') == [])

    async def test_failed(self) -> None:
        """An upload whose service fails for the last time is in failed/, and is a dead letter that names it there."""
        self.exchange.at_once = failing
        await self.configure()
        await self.upload('bad.csv', b'1')
        await self.until(lambda: self.files('failed') == ['bad.csv'])
        await self.upload('bad.csv', b'22')
        await self.until(lambda: len(self.files('failed')) == 2)
        self.assertEqual(self.files('processed'), [])
        payloads = [payload_of(letter.message) for letter in self.letters]
        self.assertEqual([Path(each['path']).read_bytes() for each in payloads], [b'1', b'22'])
        self.assertEqual([letter.id for letter in self.letters], [each['delivery_id'] for each in payloads])

    async def test_policy_keys(self) -> None:
        """The service gets a file as often as `retry` says; without dead_letter a file that failed for the last time is
        only in failed/; `idempotent` moves a file whose content was processed to processed/ without the service."""
        broken = Reply(500, b'', b'', error=RuntimeError('broken'))
        outcomes = [lambda message: broken, lambda message: broken, lambda message: Reply(200, b'', b'')]
        self.exchange.at_once = lambda message: outcomes.pop(0)(message)
        await self.configure(retry=DeliveryRetry(attempts=3, backoff=0.01, max_delay=0.01),
                             idempotent=Idempotency(key='json:/sha256', ttl=60))  # fmt: skip
        await self.upload('a.csv', b'same')
        await self.until_processed(1)
        self.assertEqual(([each['name'] for each in self.payloads], self.letters), (['a.csv'] * 3, []))
        self.assertEqual(len({each['delivery_id'] for each in self.payloads}), 1)
        await self.upload('b.csv', b'same')
        await self.until_processed(2)
        self.assertEqual((len(self.payloads), self.files('processed')), (3, ['a.csv', 'b.csv']))
        self.exchange.at_once = failing
        await self.configure(dead_letter=False)
        await self.upload('bad.csv')
        await self.until(lambda: self.files('failed') == ['bad.csv'])
        self.assertEqual(self.letters, [])

    async def test_dead_letter_not_stored(self) -> None:
        """An upload whose dead letter cannot be stored stays, and is delivered again."""
        self.exchange.at_once = failing
        self.letters.error = RuntimeError('no database')
        self.patch(upload_queue, 'RETURN_DELAY', 0.1)
        await self.configure()
        await self.upload('bad.csv')
        await self.until(lambda: len(self.payloads) > 1)
        self.letters.error = None
        await self.until(lambda: self.files('failed') == ['bad.csv'])
        self.assertEqual({each['delivery_id'] for each in self.payloads}, {self.letters[0].id})
        self.assertEqual([each['redelivered'] for each in self.payloads[:2]], [False, True])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)) > 0, True)

    async def test_cut(self) -> None:
        """A client that is killed ends its data connection like a finished one, and its control connection at the
        same time: nothing is delivered, and the upload can be resumed."""
        await self.configure()

        def cut(client: ftplib.FTP) -> None:
            data = client.transfercmd('STOR big.bin')
            data.sendall(b'12345')
            data.close()
            client.close()

        await self.run_client(cut)
        await self.until(lambda: (self.directory / 'big.bin').stat().st_size == 5)
        size = await self.run_client(lambda client: client.size('big.bin'))
        self.assertEqual((size, self.payloads), (5, []))
        await self.run_client(lambda client: client.storbinary('STOR big.bin', BytesIO(b'6789'), rest=size))
        (payload,) = self.payloads
        self.assertEqual(payload['size'], 9)
        self.assertEqual(payload['sha256'], hashlib.sha256(b'123456789').hexdigest())

    async def test_reset(self) -> None:
        """A data connection that is reset delivers nothing: 426."""
        await self.configure()

        def reset(client: ftplib.FTP) -> str:
            data = client.transfercmd('STOR big.bin')
            data.sendall(b'12345')
            data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            data.close()
            return error_of(client.voidresp)

        self.assertTrue((await self.run_client(reset)).startswith('426'))
        self.assertEqual(self.payloads, [])

    async def test_abort(self) -> None:
        """ABOR, as urgent data too, ends an upload with 426 and then 226; nothing is delivered."""
        await self.configure()

        def abort(client: ftplib.FTP) -> list[str]:
            data = client.transfercmd('STOR big.bin')
            data.sendall(b'12345')
            first = client.abort()  # urgent
            second = client.getresp()
            data.close()
            return [first[:3], second[:3], client.voidcmd('NOOP')[:3]]

        self.assertEqual(await self.run_client(abort), ['426', '226', '200'])
        self.assertEqual(self.payloads, [])

    async def test_recovery(self) -> None:
        """Uploads that a process left are delivered with their ids and `redelivered` when the next one starts."""
        store = UploadStore(FileTree(self.directory))
        store.open()
        upload = store.begin(('left.csv',), 0)
        upload.write(b'left')
        record = store.receive(upload, 'partner')
        store.close()
        await self.configure()
        (payload,) = self.payloads
        self.assertEqual((payload['delivery_id'], payload['redelivered']), (record.id, True))
        await self.until(lambda: self.files('processed') == ['left.csv'])

    async def test_edit_returns_uploads(self) -> None:
        """A file whose service does not end within the grace time after an edit goes to the new channel's service."""
        self.exchange.at_once = None
        await self.configure()
        await self.upload('slow.csv')
        await self.configure(service='files.other')
        await self.until(lambda: len(self.payloads) == 2)
        first, second = self.payloads
        self.assertEqual((second['delivery_id'], second['redelivered']), (first['delivery_id'], True))
        self.assertEqual(self.exchange.delivered[1].inbound.service, 'files.other')
        self.exchange.delivered[1].answer(b'')

    async def test_directory_in_use(self) -> None:
        """Two nodes cannot use one directory at once: it is a finding of the second one."""
        await self.configure()
        other = self.make_channels()
        await self.configure(other, address='127.0.0.1:1')
        await self.until(lambda: any('is used by another process' in each for each in other.findings()))

    async def test_parallel_limit(self) -> None:
        """No more files than max_in_flight are given to the service at once; the others wait."""
        self.exchange.at_once = None
        await self.configure(max_in_flight=1)
        await self.upload('a')
        await self.upload('b')
        self.assertEqual([each['name'] for each in self.payloads], ['a'])
        self.exchange.delivered[0].answer(b'')
        await self.until(lambda: len(self.payloads) == 2)
        self.exchange.delivered[1].answer(b'')

    async def test_same_name_at_once(self) -> None:
        """Two clients cannot upload one name at once: 450; the name cannot be deleted or renamed either."""
        await self.configure()

        def both(client: ftplib.FTP) -> list[str]:
            data = client.transfercmd('STOR one.csv')
            with self.connect() as other:
                other.login('partner', 'secret')
                errors = [error_of(lambda: other.storbinary('STOR one.csv', BytesIO(b'x')))[:3],
                          error_of(lambda: other.delete('one.csv'))[:3],
                          error_of(lambda: other.rename('one.csv', 'two.csv'))[:3]]  # fmt: skip
            data.sendall(b'mine')
            data.close()
            client.voidresp()
            return errors

        self.assertEqual(await self.run_client(both), ['450', '450', '450'])
        self.assertEqual([each['size'] for each in self.payloads], [4])


class NameTests(ChannelEnvironment):
    """Ignored names, renames, directories and listings."""

    async def test_ignored_until_renamed(self) -> None:
        """A name with an ignored pattern is delivered when it is renamed."""
        await self.configure()
        await self.upload('x.part')
        self.assertEqual(self.payloads, [])
        await self.run_client(lambda client: client.rename('x.part', 'x.csv'))
        self.assertEqual([each['name'] for each in self.payloads], ['x.csv'])

    async def test_cut_upload_is_not_delivered_by_rename(self) -> None:
        """A file whose upload was cut cannot be renamed to a name that is delivered."""
        await self.configure()

        def cut(client: ftplib.FTP) -> None:
            client.transfercmd('STOR x.part').close()
            client.close()

        await self.run_client(cut)
        reply = await self.run_client(lambda client: error_of(lambda: client.rename('x.part', 'x.csv')))
        self.assertTrue(reply.startswith('450'), reply)
        self.assertEqual(self.payloads, [])

    async def test_deliver_on_rename(self) -> None:
        """With deliver_on: rename any name is delivered when it is renamed, and only then."""
        await self.configure(deliver_on='rename')
        await self.upload('a')
        self.assertEqual(self.payloads, [])
        await self.run_client(lambda client: client.rename('a', 'b'))
        self.assertEqual([each['name'] for each in self.payloads], ['b'])

    async def test_directories_and_listings(self) -> None:
        """Directories are made, entered, listed in each form and removed; the channel's own are not visible."""
        await self.configure(deliver_on='rename')

        def use(client: ftplib.FTP) -> Any:
            client.mkd('d')
            client.cwd('d')
            client.storbinary('STOR f.txt', BytesIO(b'12345'))
            lines: list[str] = []
            client.dir(lines.append)
            facts = dict(client.mlsd())['f.txt']
            names = client.nlst()
            modified = client.voidcmd('MDTM f.txt')
            single = client.sendcmd('MLST f.txt')
            client.delete('f.txt')
            client.cwd('..')
            client.rename('d', 'e')
            root = client.nlst()
            client.rmd('e')
            return lines, facts, names, modified, single, root, client.pwd(), client.nlst()

        lines, facts, names, modified, single, root, where, left = await self.run_client(use)
        self.assertRegex(lines[0], r'^-rw-r----- 1 ftp ftp +5 \w{3} \d\d \d\d:\d\d f.txt$')
        self.assertEqual((facts['size'], facts['type'], names, root, where, left),
                         ('5', 'file', ['f.txt'], ['e'], '/', []))  # fmt: skip
        self.assertEqual(modified, f'213 {facts["modify"]}')
        self.assertIn('size=5;', single)

    async def test_traversal(self) -> None:
        """No spelling of a name leads out of the directory or into the channel's own, symbolic links neither."""
        self.directory.mkdir()
        outside = Path(self.mktemp()).absolute()
        outside.mkdir()
        (outside / 'secret').write_text('x')
        (self.directory / 'link').symlink_to(outside)
        (self.directory / 'file').symlink_to(outside / 'secret')
        await self.configure(allow_reading=True)

        def use(client: ftplib.FTP) -> None:
            client.cwd('../../..')
            self.assertEqual(client.pwd(), '/')
            for name in ('link', 'link/secret', '/./link/secret', 'x/../link/secret', 'file', '.zatotx/lock',
                         './/.zatotx/lock', 'd/../processed/x', '\\..\\..\\x\0', '%2e%2e/secret', '..%2fsecret',
                         '....//secret', '..;/secret', '~root', '~/secret', '\u2024\u2024/secret', 'C:\\secret',
                         '/../../../etc/passwd', '//etc/passwd'):  # fmt: skip
                for command in ('CWD', 'SIZE', 'RETR', 'DELE', 'RNFR', 'MLST', 'RMD'):
                    self.assertRegex(error_of(partial(client.voidcmd, f'{command} {name}')), '^5', (command, name))
            for name in ('link/new', 'file', 'processed/x', '.zatotx/received/x', '/', '..', 'processed'):
                store = partial(client.storbinary, f'STOR {name}', BytesIO(b'x'))
                self.assertRegex(error_of(store), '^5', name)
            self.assertEqual(client.nlst(), [])

        await self.run_client(use)
        self.assertEqual([path.name for path in outside.iterdir()], ['secret'])
        self.assertEqual(((outside / 'secret').read_text(), self.payloads), ('x', []))

    async def test_hostile_names(self) -> None:
        """Names with control characters or bytes that are not UTF-8 are refused; such names on the disk forge no line
        of a listing."""
        self.directory.mkdir()
        (self.directory / 'a\r\n226 forged').write_text('x')
        await self.configure()

        def use(client: ftplib.FTP) -> list[str]:
            self.assertTrue(error_of(lambda: client.storbinary('STOR a\tb', BytesIO(b'x'))).startswith('553'))
            client.encoding = 'latin-1'
            self.assertTrue(error_of(lambda: client.storbinary('STOR \xe9', BytesIO(b'x'))).startswith('501'))
            return client.nlst()

        self.assertEqual(await self.run_client(use), ['a??226 forged'])


class LoginTests(ChannelEnvironment):
    """Who may use a channel."""

    async def test_wrong_password(self) -> None:
        """A wrong password is refused after a delay, the third one ends the connection; nothing is allowed before."""
        await self.configure()

        def use() -> list[str]:
            with self.connect() as client:
                replies = [error_of(lambda: client.voidcmd('PWD'))]
                began = self.reactor.seconds()
                replies += [error_of(lambda: client.login('partner', 'wrong')) for _ in range(3)]
                self.assertGreater(self.reactor.seconds() - began, 2.9)
                return [reply[:3] for reply in replies]

        self.assertEqual(await deferToThread(use), ['530', '530', '530', '421'])

    async def test_no_password(self) -> None:
        """A channel without a password refuses all logins, and says so."""
        await self.configure(password='')

        def use() -> str:
            with self.connect() as client:
                return error_of(lambda: client.login('partner', ''))

        self.assertTrue((await deferToThread(use)).startswith('530'))
        self.assertIn('has no password', next(iter(self.channels.findings())))

    async def test_definitions(self) -> None:
        """Users of security definitions log in by the dispatcher, which gets their credentials as those of HTTP Basic
        authentication; each of them may have a directory of its own."""
        await self.configure(None, user='', password='', groups=['partners'], directory_per_user=True)

        def use(user: str) -> Any:
            with self.connect() as client:
                client.login(user, 'p:w')
                client.storbinary('STOR a.part', BytesIO(b'x'))
                client.rename('a.part', 'a')
                client.storbinary('STOR rest.part', BytesIO(b'x'))
                client.cwd('/')
                for command in ('RNFR /', 'RMD /', 'CWD ../other', 'DELE ..'):
                    self.assertRegex(error_of(partial(client.voidcmd, command)), '^5', command)
                return client.nlst(), client.pwd()

        self.assertEqual(await deferToThread(use, 'one'), (['rest.part'], '/'))
        self.assertEqual(await deferToThread(use, 'two'), (['rest.part'], '/'))
        self.assertEqual([(each['name'], each['user']) for each in self.payloads], [('one/a', 'one'), ('two/a', 'two')])
        asked = self.exchange.asked[0].inbound
        self.assertEqual(asked.channel.groups, ('partners',))
        self.assertEqual(asked.headers[b'authorization'], b'Basic b25lOnA6dw==')
        for name in ('..', 'processed', 'a/b', '/'):
            self.assertTrue((await deferToThread(error_of, partial(use, name))).startswith('530'), name)
        self.exchange.admits = Reply(401, b'', b'')
        self.assertTrue((await deferToThread(error_of, partial(use, 'one'))).startswith('530'))

    async def test_too_many(self) -> None:
        """Clients beyond the limits, in all and of one address, get 421."""
        for limit in ('max_connections', 'max_connections_per_address'):
            await self.configure(None, **{limit: 1})

            def use() -> str:
                with self.connect():
                    return error_of(self.connect)

            self.assertTrue((await deferToThread(use)).startswith('421'))


class ClientTests(ChannelEnvironment):
    """Programs that partners use."""

    async def test_curl(self) -> None:
        """curl uploads, into a directory that it makes, resumes, and lists."""
        await self.configure()
        url = f'ftp://127.0.0.1:{self.port}/made/by/curl.txt'
        done = await self.run_command('curl', '-sS', '--ftp-create-dirs', '-u', 'partner:secret', '-T', '-', url,
                                      data=b'from curl')  # fmt: skip
        self.assertEqual((done.returncode, done.stderr), (0, b''))
        self.assertEqual([each['name'] for each in self.payloads], ['made/by/curl.txt'])
        (self.directory / 'made' / 'rest.txt').write_bytes(b'0123')
        whole = Path(self.mktemp())
        whole.write_bytes(b'0123456789')
        done = await self.run_command('curl', '-sS', '-u', 'partner:secret', '-C', '-', '-T', str(whole),
                                      f'ftp://127.0.0.1:{self.port}/made/rest.txt')  # fmt: skip
        self.assertEqual((done.returncode, done.stderr), (0, b''))
        self.assertEqual(self.payloads[-1]['sha256'], hashlib.sha256(b'0123456789').hexdigest())
        listed = await self.run_command('curl', '-sS', '-u', 'partner:secret', f'ftp://127.0.0.1:{self.port}/')
        self.assertIn(b' made', listed.stdout)

    async def test_ipv6(self) -> None:
        """Clients come by IPv6 too, where PASV has no reply but 425."""
        await self.configure(None, address=f'[::1]:{self.port}')

        def use() -> tuple[str, str]:
            with ftplib.FTP(timeout=TIMEOUT) as client:
                client.connect('::1', self.port)
                client.login('partner', 'secret')
                return error_of(lambda: client.voidcmd('PASV')), client.storbinary('STOR six', BytesIO(b'6'))

        passive, stored = await deferToThread(use)
        self.assertEqual((passive[:3], stored[:3], self.payloads[0]['name']), ('425', '226', 'six'))

    async def test_lftp(self) -> None:
        """lftp mirrors a directory tree."""
        await self.configure()
        source = Path(self.mktemp()).absolute()
        (source / 'sub').mkdir(parents=True)
        for name in ('one.txt', 'two words.txt', 'sub/three.txt'):
            (source / name).write_text(name)
        script = f'set net:timeout 10; set net:max-retries 1; mirror -R {source} /tree'
        done = await self.run_command('lftp', '-u', 'partner,secret', '-p', str(self.port), '-e', f'{script}; bye',
                                      '127.0.0.1')  # fmt: skip
        self.assertEqual((done.returncode, done.stderr), (0, b''))
        self.assertEqual(sorted(each['name'] for each in self.payloads),
                         ['tree/one.txt', 'tree/sub/three.txt', 'tree/two words.txt'])  # fmt: skip


del ChannelContract  # otherwise it is collected
