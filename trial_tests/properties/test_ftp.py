"""Properties of FTP: what servers send, in whatever pieces, is parsed or rejected, and names never lead elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.properties import holds
from zatotx.plugins.ftp import wire
from zatotx.plugins.ftp.listing import is_plain_name, parse_listing, parse_machine_listing
from zatotx.plugins.ftp.wire import FtpReply, InvalidReply, ReplyParser

NOW = datetime(2026, 11, 30, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_characters='\r\n', codec='utf-8'), max_size=20)
REPLIES = st.builds(lambda code, lines: (code, [f' {line}' for line in lines]), st.integers(100, 659),
                    st.lists(TEXT, min_size=1, max_size=4))  # fmt: skip
HEADS = st.sampled_from([
    '-rw-r--r-- 1 a b 1 Feb  1 10:00 ', 'drwxr-xr-x 2 1 Feb  1  2020 ', '11-30-26  01:05PM                 5 ',
    '11-30-2026  13:05       <DIR>          ', '+r,s5,\t', 'type=file;size=5; ', 'type=dir;modify=2026; ', '',
])  # fmt: skip
LINES = st.lists(st.builds(str.__add__, HEADS, st.text(max_size=20)), max_size=5)


class FtpPropertyTests(SynchronousTestCase):
    @holds(replies=st.lists(REPLIES, max_size=4), cuts=st.lists(st.integers(1, 9), min_size=1, max_size=9))
    def test_replies(self, replies: list[tuple[int, list[str]]], cuts: list[int]) -> None:
        """Replies that are written are those that are read, whatever the pieces."""
        data = b''.join(wire.encode_lines(code, lines) for code, lines in replies)
        parser, found, start, number = ReplyParser(), [], 0, 0
        while start < len(data):
            end = start + cuts[number % len(cuts)]
            found += parser.feed(data[start:end])
            start, number = end, number + 1
        self.assertEqual(found, [FtpReply(code, tuple(lines)) for code, lines in replies])
        self.assertTrue(parser.is_empty)

    @holds(pieces=st.lists(st.binary(max_size=60), max_size=6))
    def test_any_bytes(self, pieces: list[bytes]) -> None:
        """Any other bytes are replies, or InvalidReply; what is made of replies is found or InvalidReply."""
        parser = ReplyParser()
        try:
            replies = [reply for piece in pieces for reply in parser.feed(piece)]
        except InvalidReply:
            return
        for reply in replies:
            wire.parse_features(reply)
            wire.parse_directory_reply(reply)
            for parse in (wire.parse_passive_port, wire.parse_extended_passive_port):
                try:
                    self.assertIn(parse(reply), range(1, 65_536))
                except InvalidReply:
                    continue

    @holds(lines=LINES)
    def test_listings(self, lines: list[str]) -> None:
        """Any lines give entries whose names are plain; sizes are not negative, times have a zone."""
        for info in (*parse_listing(lines, NOW), *parse_machine_listing(lines)):
            self.assertTrue(is_plain_name(info.name))
            self.assertGreaterEqual(info.size or 0, 0)
            self.assertTrue(info.modified is None or info.modified.tzinfo is not None)

    @holds(argument=st.text(max_size=40))
    def test_commands(self, argument: str) -> None:
        """A command is one line, whatever its argument, or ValueError."""
        try:
            line = wire.encode_command('RETR', argument)
        except ValueError:
            return
        self.assertEqual((line.count(b'\n'), line.count(b'\r'), line.count(b'\0')), (1, 1, 0))

    @holds(argument=st.text('0123456789,|.:! ', max_size=30))
    def test_addresses(self, argument: str) -> None:
        """Arguments of PORT and EPRT are an address and a port, or ValueError."""
        for parse in (wire.parse_port, wire.parse_extended_port):
            try:
                host, port = parse(argument)
            except ValueError:
                continue
            self.assertTrue(host)
            self.assertIn(port, range(65_536))
