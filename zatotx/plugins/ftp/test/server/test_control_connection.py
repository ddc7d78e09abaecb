"""The control connection over memory transports and a Clock: order, times, and what the client gets to see."""

from __future__ import annotations

import errno

from twisted.internet.error import ConnectionDone, ConnectionLost

from zatotx.plugins.ftp.server.file_tree import FileTree
from zatotx.plugins.ftp.server.login import ATTEMPTS, FAILURE_DELAY
from zatotx.plugins.ftp.server.transfer_commands import END_OF_UPLOAD
from zatotx.plugins.ftp.server.upload_store import UploadFile, UploadRecord, UploadStore
from zatotx.plugins.ftp.test.server.memory_server import CLIENT, ControlTestCase, Transport


class UploadTests(ControlTestCase):
    """When an upload is complete."""

    def test_control_stays_open(self) -> None:
        """The reply and the delivery come as soon as the control connection stayed open for 100 ms after the data."""
        self.login()
        data, _ = self.begin('STOR a')
        data.dataReceived(b'12345')
        self.end(data)
        self.reactor.advance(END_OF_UPLOAD * 0.99)
        self.assertEqual((self.replies(), self.received), ('', []))
        self.reactor.advance(END_OF_UPLOAD * 0.02)
        self.reactor.advance(0)
        self.assertEqual(self.replies(), '226 The file was received\r\n')
        self.assertEqual([record.size for record in self.received], [5])

    def test_control_ends(self) -> None:
        """A client that loses its control connection within the 100 ms, or before the data, delivers nothing; what it
        sent stays."""
        for is_first in (True, False):
            self.control, self.transport = self.connect()
            self.login()
            data, _ = self.begin('STOR a')
            data.dataReceived(b'12345')
            for protocol in (self.control, data) if is_first else (data, self.control):
                self.end(protocol)
                self.reactor.advance(END_OF_UPLOAD * 0.9)
            self.reactor.advance(60)
            self.assertEqual(self.received, [])
            self.assertEqual((self.root / 'a').read_bytes(), b'12345')

    def test_stalled_reactor(self) -> None:
        """The end of a control connection that waited in the kernel while the reactor stalled for longer than the
        100 ms counts: the reactor reads once more before the upload is complete."""
        self.login()
        data, _ = self.begin('STOR a')
        self.end(data)
        self.reactor.advance(END_OF_UPLOAD * 3)
        self.end(self.control)
        self.reactor.advance(1)
        self.assertEqual(self.received, [])

    def test_client_without_end(self) -> None:
        """The data connection of a client that is gone is cut after a second."""
        self.login()
        data, transport = self.begin('STOR a')
        self.end(self.control)
        self.reactor.advance(0.9)
        self.assertFalse(transport.aborted)
        self.reactor.advance(0.2)
        self.assertTrue(transport.aborted)
        self.end(data, ConnectionLost)
        self.assertEqual(self.received, [])

    def test_counted(self) -> None:
        """Connections, uploads, their bytes, and failed logins are counted."""
        self.login()
        for name, reason in (('a', ConnectionDone), ('b', ConnectionLost)):
            data, _ = self.begin(f'STOR {name}')
            data.dataReceived(b'12345')
            self.end(data, reason)
            self.pass_time(1)
        other, _ = self.connect()
        other.dataReceived(b'USER u\r\nPASS x\r\n')
        self.reactor.advance(0)
        counters = self.server.context.counters
        self.assertEqual({name: value for (name, _, value) in counters.rows(3)}, {
            'zatotx_ftp_connections': 2, 'zatotx_ftp_refused_connections': 0, 'zatotx_ftp_failed_logins': 1,
            'zatotx_ftp_uploads': 1, 'zatotx_ftp_cut_uploads': 1, 'zatotx_ftp_received_bytes': 10,
            'zatotx_ftp_waiting_uploads': 3,
        })  # fmt: skip

    def test_reset(self) -> None:
        """A reset data connection is 426, and the session goes on."""
        self.login()
        data, _ = self.begin('STOR a')
        self.end(data, ConnectionLost)
        self.assertEqual(self.replies(), '426 The data connection was cut\r\n')
        self.assertEqual(self.send('NOOP'), '200 OK\r\n')

    def test_abort(self) -> None:
        """ABOR between the end of the data and the end of the 100 ms still aborts the upload."""
        self.login()
        data, _ = self.begin('STOR a')
        self.end(data)
        replies = self.send('NOOP', 'ABOR')
        self.reactor.advance(1)
        codes = [line[:3] for line in (replies + self.replies()).splitlines()]
        self.assertEqual((codes, self.received), (['426', '226', '200'], []))

    def test_early_data_and_early_end(self) -> None:
        """A client may send its data, and end it, before the reply 150: the connection is not read before."""
        self.login()
        self.send('EPSV')
        data, transport = self.reactor.tcpServers[-1][1].buildProtocol(CLIENT), Transport(CLIENT)
        data.makeConnection(transport)
        self.assertEqual(transport.producerState, 'paused')
        self.assertEqual(self.send('STOR a')[:3], '150')
        self.assertEqual(transport.producerState, 'producing')
        data.dataReceived(b'x')
        self.end(data)
        self.pass_time(1)
        self.assertEqual(len(self.received), 1)

    def test_no_data_connection(self) -> None:
        """A client that makes no data connection gets 425 after 30 seconds, and the port is closed."""
        self.login()
        self.send('EPSV')
        self.assertEqual(self.send('STOR a'), '')
        self.reactor.advance(30)
        self.assertEqual(self.replies(), '425 No data connection was made\r\n')
        self.assertEqual(self.send('NOOP'), '200 OK\r\n')

    def test_error_on_disk(self) -> None:
        """An error while an upload is received is replied with its code, and the upload stays."""
        self.login()

        def fail(store: UploadStore, upload: UploadFile, user: str) -> UploadRecord:
            upload.close()
            raise OSError(errno.ENOSPC, 'No space left on device')

        self.patch(UploadStore, 'receive', fail)
        data, _ = self.begin('STOR a')
        data.dataReceived(b'x')
        self.end(data)
        self.pass_time(1)
        self.assertEqual(self.replies(), '452 No space is left on the disk\r\n')
        self.assertEqual(((self.root / 'a').read_bytes(), self.received), (b'x', []))


class TimeTests(ControlTestCase):
    """Delays and timeouts."""

    def test_failed_login(self) -> None:
        """The reply to a wrong password comes after a delay; the last attempt ends the connection."""
        for attempt in range(ATTEMPTS):
            self.send('USER u', 'PASS wrong')
            self.replies()
            self.reactor.advance(FAILURE_DELAY * 0.99)
            self.assertEqual(self.replies(), '')
            self.reactor.advance(FAILURE_DELAY * 0.02)
            self.assertEqual(self.replies()[:3], '421' if attempt == ATTEMPTS - 1 else '530')
        self.assertTrue(self.transport.disconnecting)

    def test_throttle(self) -> None:
        """An address with many failures waits longer, with the right password too."""
        throttle = self.server.context.login.throttle
        for _ in range(25):
            throttle.record_failure('192.0.2.1', self.reactor.seconds())
        self.assertEqual(self.send('USER u', 'PASS p').count('230'), 0)
        self.reactor.advance(8.1)
        self.assertIn('230', self.replies())

    def test_idle(self) -> None:
        """A client that does not log in is sent away after a minute, one that did after its own time; a command that
        runs keeps the connection open. Who does not take the last reply is cut."""
        self.reactor.advance(59)
        self.login()
        self.reactor.advance(299)
        self.assertEqual(self.send('NOOP'), '200 OK\r\n')
        data, _ = self.begin('STOR a')
        for _ in range(10):
            self.reactor.advance(50)
            data.dataReceived(b'x')
        self.assertEqual(self.replies(), '')
        self.end(data)
        self.pass_time(1)
        self.replies()
        self.reactor.advance(301)
        self.assertEqual(self.replies(), '421 No command for too long\r\n')
        self.assertFalse(self.transport.aborted)
        self.reactor.advance(5)
        self.assertTrue(self.transport.aborted)

    def test_flood(self) -> None:
        """Reading pauses while many commands wait for one that takes long."""
        self.send('USER u', 'PASS wrong')
        self.send(*['NOOP'] * 40)
        self.assertEqual(self.transport.producerState, 'paused')
        self.reactor.advance(FAILURE_DELAY)
        for _ in range(50):
            self.reactor.advance(0)
        self.assertEqual(self.transport.producerState, 'producing')
        self.assertEqual(self.replies().count('200'), 40)

    def test_nothing_is_left(self) -> None:
        """A connection that ends at any point leaves no timer and no port behind."""
        self.end(self.control)
        for lines in ([], ['USER u', 'PASS x'], ['USER u', 'PASS p', 'EPSV'], ['USER u', 'PASS p', 'EPSV', 'STOR a']):
            self.control, self.transport = self.connect()
            self.send(*lines)
            self.end(self.control)
            self.reactor.advance(0)
            self.assertEqual(self.reactor.getDelayedCalls(), [], lines)
            self.assertEqual(self.server.connections, set())


class SequenceTests(ControlTestCase):
    """Commands out of order."""

    def test_order(self) -> None:
        """Commands that need another one before are 503, unknown ones 500, ones that are not supported 502."""
        self.assertEqual(self.send('PASS p')[:3], '503')
        self.assertEqual(self.send('PWD')[:3], '530')
        self.login()
        for line, code in (('RNTO b', '503'), ('USER u', '503'), ('XYZ', '500'), ('SITE CHMOD 777 a', '502'),
                           ('STOR', '501'), ('STOR a', '425'), ('LIST', '425'), ('TYPE E', '504'), ('MODE B', '504'),
                           ('STRU R', '504'), ('REST x', '501'), ('OPTS X', '501'), ('PBSZ 0', '503'),
                           ('AUTH TLS', '502'), ('EPSV 2', '522'), ('ABOR', '226'), ('ALLO 5', '202'), ('STAT', '211'),
                           ('STAT /', '213'), ('HELP', '214'), ('EPSV ALL', '200'), ('PASV', '503'),
                           ('MLSD nowhere', '550'), ('\xff\xfe', '500')):  # fmt: skip
            self.assertEqual(self.send(line)[:3], code, line)

    def test_rename_needs_its_own_from(self) -> None:
        """RNTO follows its RNFR at once."""
        self.login()
        (self.root / 'a').write_text('x')
        self.assertEqual(self.send('RNFR a')[:3], '350')
        self.send('NOOP')
        self.assertEqual(self.send('RNTO b')[:3], '503')
        self.send('RNFR a')
        self.assertEqual(self.send('RNTO b')[:3], '250')
        self.assertEqual(self.send('RNTO c')[:3], '503')

    def test_unexpected_error(self) -> None:
        """An error of the program is logged and replied with 451; the session goes on."""
        self.login()
        self.patch(FileTree, 'find', lambda self, path: 1 / 0)
        self.assertEqual(self.send('SIZE a')[:3], '451')
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.send('NOOP')[:3], '200')

    def test_quit_after_transfer(self) -> None:
        """QUIT during a transfer waits for its end."""
        self.login()
        data, _ = self.begin('STOR a')
        self.assertEqual(self.send('QUIT'), '')
        self.end(data)
        self.pass_time(1)
        self.assertEqual([line[:3] for line in self.replies().splitlines()], ['226', '221'])
        self.assertEqual(len(self.received), 1)

    def test_stop(self) -> None:
        """A server that stops ends idle sessions at once, and others after their command."""
        self.login()
        data, _ = self.begin('STOR a')
        idle, transport = self.connect()
        stopping = self.server.stop()
        self.assertIn(b'421', transport.value())
        self.end(idle)
        self.assertNoResult(stopping)
        self.end(data)
        self.pass_time(1)
        self.assertEqual([line[:3] for line in self.replies().splitlines()], ['226', '421'])
        self.end(self.control)
        self.successResultOf(stopping)


del ControlTestCase  # otherwise it is collected
