"""The commands of FTP as a server reads them."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.ftp.server.command_syntax import (
    MAX_LINE,
    Command,
    CommandBuffer,
    FtpError,
    LineTooLongError,
    ServerReply,
    check_new_name,
    format_pasv,
    matches,
    parse_command,
    parse_eprt,
    parse_offset,
    parse_port,
    quote_path,
    resolve_path,
    to_ftp_error,
)
from zatotx.plugins.ftp.server.listing_format import FileEntry, format_facts, format_list, safe_name


class CommandTests(SynchronousTestCase):
    def code(self, call: Callable[..., Any], *args: Any) -> int:
        """The code that a call fails with."""
        error: FtpError = self.assertRaises(FtpError, call, *args)
        return error.code

    def test_lines(self) -> None:
        """Lines end with CR LF or LF and come in any pieces; a line that is too long is an error; `clear` drops what
        is not complete."""
        buffer = CommandBuffer()
        self.assertEqual([line for byte in b'USER a\r\nPASS b\n' for line in buffer.feed(bytes([byte]))],
                         [b'USER a', b'PASS b'])  # fmt: skip
        buffer.feed(b'NO')
        buffer.clear()
        self.assertEqual(buffer.feed(b'OP\r\n'), [b'OP'])
        self.assertRaises(LineTooLongError, buffer.feed, b'x' * (MAX_LINE + 1))

    def test_telnet(self) -> None:
        """Telnet's commands before ABOR are dropped, and a doubled 255 is one byte."""
        buffer = CommandBuffer()
        self.assertEqual(buffer.feed(b'\xff\xf4\xff\xf2ABOR\r\nCWD a\xff\xffb\r\n\xff\xfb\x01NOOP\r\nX\xff\r\n'),
                         [b'ABOR', b'CWD a\xffb', b'NOOP', b'X'])  # fmt: skip

    def test_commands(self) -> None:
        """A verb in any case, and an argument with its spaces; what cannot be one is refused."""
        self.assertEqual(parse_command(b'stor  two words '), Command('STOR', ' two words '))
        self.assertEqual(parse_command(b'NOOP'), Command('NOOP'))
        for line, code in ((b'', 500), (b'GET / HTTP/1.1', 501), (b'A1 x', 500), (b'x' * 9, 500), (b'CWD \xff', 501),
                           (b'CWD a\0b', 501)):  # fmt: skip
            if line.startswith(b'GET'):
                self.assertEqual(parse_command(line).verb, 'GET')
            else:
                self.assertEqual(self.code(parse_command, line), code, line)

    def test_paths(self) -> None:
        """Paths are relative to a directory or absolute, and never lead above the root."""
        for argument, path in (('b', ('a', 'b')), ('/b//c/.', ('b', 'c')), ('..', ()), ('../../../x', ('x',)),
                               ('/', ()), ('a\\..\\b', ('a', 'a\\..\\b')), ('...', ('a', '...'))):  # fmt: skip
            self.assertEqual(resolve_path(('a',), argument), path, argument)
        self.assertEqual(self.code(resolve_path, (), ''), 501)
        self.assertEqual(quote_path(('a"b',)), '"/a""b"')

    def test_new_names(self) -> None:
        """The root, control characters and long names cannot be made."""
        check_new_name(('é' * 127,))
        for path in ((), ('a\rb',), ('\x1b[2J',), ('é' * 128,)):
            self.assertEqual(self.code(check_new_name, path), 553, path)

    def test_addresses(self) -> None:
        """The arguments of PORT and EPRT, and the reply to PASV."""
        self.assertEqual(parse_port('127,0,0,1,4,1'), ('127.0.0.1', 1025))
        self.assertEqual(parse_eprt('|1|127.0.0.1|1025|'), ('127.0.0.1', 1025))
        self.assertEqual(parse_eprt('!2!::1!1025!'), ('::1', 1025))
        for argument in ('', '1,2,3', '256,0,0,1,4,1', '1,2,3,4,5,6,7', 'a,b,c,d,e,f'):
            self.assertEqual(self.code(parse_port, argument), 501, argument)
        for argument, code in (('|1|127.0.0.1|', 501), ('|1|1.2.3|1|', 501), ('|1|::1|1|', 522), ('|2|1.2.3.4|1|', 522),
                               ('|1|1.2.3.4|65536|', 501), ('|3|x|1|', 501)):  # fmt: skip
            self.assertEqual(self.code(parse_eprt, argument), code, argument)
        self.assertEqual(format_pasv('10.0.0.1', 258), 'Entering Passive Mode (10,0,0,1,1,2)')

    def test_offsets(self) -> None:
        """REST takes decimal digits."""
        self.assertEqual(parse_offset('10'), 10)
        for argument in ('', '-1', '1e3', '٣', '9' * 19):
            self.assertEqual(self.code(parse_offset, argument), 501, argument)

    def test_replies(self) -> None:
        """Replies have one line or several; no text can add a line."""
        self.assertEqual(ServerReply(200, 'a\r\n226 b').encode(), b'200 a??226 b\r\n')
        self.assertEqual(ServerReply(211, 'F', ('A', 'B\n')).encode(), b'211-F\r\n A\r\n B?\r\n211 End\r\n')

    def test_errors(self) -> None:
        """Errors of the file system have the codes of RFC 959, and say nothing about paths of the server."""
        for number, code in ((errno.ENOSPC, 452), (errno.EDQUOT, 452), (errno.ENOENT, 550), (errno.EBUSY, 450),
                             (errno.EIO, 451)):  # fmt: skip
            error = to_ftp_error(OSError(number, 'x', '/secret/path'))
            self.assertEqual(error.code, code)
            self.assertNotIn('secret', error.text)

    def test_patterns(self) -> None:
        """Patterns match in any letter case."""
        self.assertTrue(matches('A.PART', ['*.part']))
        self.assertFalse(matches('part', ['*.part']))


class ListingTests(SynchronousTestCase):
    def entry(self, **fields: Any) -> FileEntry:
        return FileEntry(**{'name': 'a', 'is_directory': False, 'size': 5, 'modified': 1_000_000_000.0, 'mode': 0o640,
                            **fields})  # fmt: skip

    def test_list(self) -> None:
        """LIST has the form of `ls -l`: with the time for files of the last half year, with the year for others."""
        self.assertEqual(format_list(self.entry(), 1_000_000_000.0),
                         b'-rw-r----- 1 ftp ftp            5 Sep 09 01:46 a')  # fmt: skip
        self.assertEqual(format_list(self.entry(is_directory=True, mode=0o755), 2_000_000_000.0),
                         b'drwxr-xr-x 1 ftp ftp            5 Sep 09  2001 a')  # fmt: skip

    def test_facts(self) -> None:
        """MLSD has type, size, time in UTC and an id; a time that is no time does not stop a listing."""
        self.assertEqual(format_facts(self.entry(unique='1g2'), 0.0),
                         b'type=file;size=5;modify=20010909014640;perm=adfw;unique=1g2; a')  # fmt: skip
        self.assertIn(b'modify=19700101000000', format_facts(self.entry(modified=1e300), 0.0))

    def test_names(self) -> None:
        """Control characters become '?', bytes that are not UTF-8 stay."""
        self.assertEqual(safe_name('a\r\nb\x7f\udcff'), b'a??b?\xff')
