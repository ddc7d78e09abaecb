"""Replies, and the addresses in them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.ftp import wire
from zatotx.plugins.ftp.wire import FtpReply, InvalidReply, ReplyParser


class ReplyTests(SynchronousTestCase):
    def test_pieces(self) -> None:
        """Replies are parsed whatever the pieces they arrive in."""
        data = b'220-Hello\r\n 220 not the end\r\n220-still not\r\nnor this\r\n220 End\r\n331 Password\n'
        expected = [FtpReply(220, ('Hello', ' 220 not the end', 'still not', 'nor this', 'End')),
                    FtpReply(331, ('Password',))]  # fmt: skip
        self.assertEqual(ReplyParser().feed(data), expected)
        parser = ReplyParser()
        found = [reply for number in range(len(data)) for reply in parser.feed(data[number : number + 1])]
        self.assertEqual(found, expected)
        self.assertTrue(parser.is_empty)

    def test_classes(self) -> None:
        """The first digit says what follows."""
        self.assertTrue(FtpReply(150, ('',)).is_preliminary)
        self.assertTrue(FtpReply(226, ('',)).is_success)
        self.assertTrue(FtpReply(331, ('',)).is_intermediate)
        self.assertFalse(FtpReply(550, ('',)).is_success)
        self.assertEqual(str(FtpReply(220, ('a ', ' b'))), '220 a b')

    def test_not_ftp(self) -> None:
        """What is not a reply, and what has no end, is an error."""
        for data in (b'SSH-2.0-OpenSSH\r\n', b'\x16\x03\x01\n', b'99 x\r\n', b'2200 x\r\n', b'020 x\r\n', b'x' * 9000,
                     b'220-' + b'x' * 9000 + b'\n', b'220-x\r\n' * 20_000):  # fmt: skip
            self.assertRaises(InvalidReply, ReplyParser().feed, data)

    def test_odd_bytes(self) -> None:
        """Bytes that the encoding lacks survive, so that the name of a file is what it is on the server."""
        (reply,) = ReplyParser().feed(b'257 "/\xff"\r\n')
        self.assertEqual(wire.parse_directory_reply(reply), '/\udcff')
        self.assertEqual(wire.encode_command('CWD', '/\udcff'), b'CWD /\xff\r\n')

    def test_commands(self) -> None:
        """An argument cannot smuggle another command."""
        self.assertEqual(wire.encode_command('PWD'), b'PWD\r\n')
        self.assertEqual(wire.encode_command('STOR', 'ö', 'latin-1'), b'STOR \xf6\r\n')
        for argument in ('a\r\nDELE b', 'a\nb', 'a\0b', 'a\rb'):
            self.assertRaises(ValueError, wire.encode_command, 'RETR', argument)

    def test_features(self) -> None:
        """FEAT lists features between its first and last line."""
        reply = FtpReply(211, ('Features:', ' MLST size*;type*;', ' utf8', ' REST STREAM', '', 'End'))
        self.assertEqual(wire.parse_features(reply), {'MLST': 'size*;type*;', 'UTF8': '', 'REST': 'STREAM'})
        self.assertEqual(wire.parse_features(FtpReply(211, ('No features',))), {})

    def test_directories(self) -> None:
        """Double quotes in a path are doubled."""
        self.assertEqual(wire.parse_directory_reply(FtpReply(257, ('"/a ""b""" is it',))), '/a "b"')
        self.assertEqual(wire.parse_directory_reply(FtpReply(257, ('/a',))), '')

    def test_written_replies(self) -> None:
        """Written replies are those that are parsed."""
        self.assertEqual(wire.encode_lines(211, ['a', 'b', 'End']), b'211-a\r\n211-b\r\n211 End\r\n')
        self.assertEqual(ReplyParser().feed(wire.encode_lines(220, ['ö'])), [FtpReply(220, ('ö',))])


class AddressTests(SynchronousTestCase):
    def test_passive(self) -> None:
        """The port of PASV is read in any text around it; the address is not."""
        for text in ('Entering Passive Mode (10,0,0,1,4,210).', 'now 10,0,0,1,4,210', '=10,0,0,1,4,210'):
            self.assertEqual(wire.parse_passive_port(FtpReply(227, (text,))), 1234)
        reply = FtpReply(227, (wire.encode_passive('127.0.0.1', 65_535),))
        self.assertEqual(wire.parse_passive_port(reply), 65_535)
        for text in ('(10,0,0,1,4)', 'x', '(1,2,3,4,256,1)', '(1,2,3,4,0,0)'):
            self.assertRaises(InvalidReply, wire.parse_passive_port, FtpReply(227, (text,)))

    def test_extended_passive(self) -> None:
        """EPSV may use any delimiter."""
        self.assertEqual(wire.parse_extended_passive_port(FtpReply(229, ('Entering (!!!1234!)',))), 1234)
        self.assertEqual(wire.parse_extended_passive_port(FtpReply(229, (wire.encode_extended_passive(9),))), 9)
        for text in ('(|||0|)', '(|||70000|)', '(||1234|)', '1234'):
            self.assertRaises(InvalidReply, wire.parse_extended_passive_port, FtpReply(229, (text,)))

    def test_active(self) -> None:
        """PORT and EPRT are read as they are written."""
        self.assertEqual(wire.encode_port('127.0.0.1', 1234), '127,0,0,1,4,210')
        self.assertEqual(wire.parse_port('127,0,0,1,4,210'), ('127.0.0.1', 1234))
        self.assertEqual(wire.parse_extended_port(wire.encode_extended_port('::1', 1234)), ('::1', 1234))
        self.assertEqual(wire.encode_extended_port('10.0.0.1', 1), '|1|10.0.0.1|1|')
        for argument in ('', '1,2,3', '127,0,0,1,4,999'):
            self.assertRaises(ValueError, wire.parse_port, argument)
        for argument in ('', '|1|::1|5|', '|2|10.0.0.1|5|', '|1|10.0.0.1|0|', '|1|10.0.0.1|70000|', '|1|x|5|',
                         '|1|2|3'):  # fmt: skip
            self.assertRaises(ValueError, wire.parse_extended_port, argument)
