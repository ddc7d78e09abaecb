"""Properties of FTP channels: no client can break the server, or reach anything outside of its directory."""

from __future__ import annotations

import shutil

from hypothesis import strategies as st

from trial_tests.support.properties import holds
from zatotx.plugins.ftp.server.command_syntax import FtpError, resolve_path
from zatotx.plugins.ftp.server.command_table import VERBS
from zatotx.plugins.ftp.test.server.memory_server import ControlTestCase

PARTS = st.sampled_from(['..', '.', '', 'a', 'b', 'd', 'x.part', '.zatotx', 'processed', 'link', '~', '\\', '*', ' '])
NAMES = st.lists(PARTS, max_size=5).map('/'.join) | st.text(st.characters(exclude_categories=['Cs']), max_size=10)
VALUES = NAMES | st.sampled_from(['I', 'P', '0', '5', 'ALL', '1', 'TLS', 'UTF8 ON', '-la', '127,0,0,1,200,0'])
LINES = st.lists(st.tuples(st.sampled_from(sorted(VERBS - {'QUIT', 'ABOR'})), VALUES), max_size=15)
CHUNKS = st.binary(max_size=50) | st.sampled_from([b'\r\n', b'USER u\r\n', b'\xff\xf4'])


class FtpChannelPropertyTests(ControlTestCase):
    def restart(self) -> None:
        """A directory as new, and a client that is logged in."""
        self.end(self.control)
        self.store.close()
        shutil.rmtree(self.root)
        self.root.mkdir()
        self.root.with_name('outside').mkdir(exist_ok=True)
        (self.root.with_name('outside') / 'secret').write_text('x')
        (self.root / 'link').symlink_to(self.root.with_name('outside'))
        self.store.open()
        self.server = self.make_server(allow_reading=True)
        self.control, self.transport = self.connect()
        self.replies()
        self.login()

    @holds(lines=LINES)
    def test_commands(self, lines: list[tuple[str, str]]) -> None:
        """Each command gets a reply, none is an error of the program, and nothing outside of the directory changes."""
        self.restart()
        for verb, value in lines:
            line = f'{verb} {value}'.replace('\n', '').replace('\r', '')
            said = self.send(line)
            if not said:  # it waits for a data connection, or for the delay of a failed login
                self.reactor.advance(31)
                said = self.replies()
            last = said.splitlines()[-1]
            self.assertRegex(last, r'^[2-5]\d\d ', line)
            self.assertFalse(last.startswith('451'), (line, said))
            if self.transport.disconnecting:
                break
        self.assertEqual(self.flushLoggedErrors(), [])
        outside = self.root.with_name('outside')
        self.assertEqual([path.read_text() for path in outside.iterdir()], ['x'])
        self.assertTrue((self.root / 'link').is_symlink())
        self.assertTrue((self.root / '.zatotx' / 'lock').exists())

    @holds(chunks=st.lists(CHUNKS, max_size=20))
    def test_bytes(self, chunks: list[bytes]) -> None:
        """Any bytes are answered; no one of them is an error of the program."""
        self.restart()
        for chunk in chunks:
            if not self.transport.disconnecting:
                self.control.dataReceived(chunk)
                self.reactor.advance(0)
        self.assertEqual(self.flushLoggedErrors(), [])

    @holds(directory=st.lists(PARTS, max_size=3), argument=NAMES)
    def test_paths(self, directory: list[str], argument: str) -> None:
        """No argument leads above the root."""
        try:
            path = resolve_path(tuple(directory), argument)
        except FtpError:
            return
        self.assertFalse({'..', '.', ''} & set(path[len(directory) :]))
        self.assertFalse(any('/' in part for part in path))


del ControlTestCase  # otherwise it is collected
