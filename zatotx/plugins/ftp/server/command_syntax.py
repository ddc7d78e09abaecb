"""Parses FTP commands and formats FTP replies (RFC 959, 2228, 2389, 2428, 3659, 4217). Pure: no I/O.

A command line is bytes up to CR LF or LF. Names are UTF-8 (RFC 2640).
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from ipaddress import ip_address

from attrs import define, field, frozen

MAX_LINE = 8_192  # bytes of a command: a path of 4,096 bytes, each IAC doubled
Path = tuple[str, ...]  # the components of a path below the directory of the channel; () = the directory

_IAC = 0xFF
_TELNET_OPTIONS = range(0xFB, 0xFF)  # WILL, WONT, DO, DONT: an option follows
_EPRT = re.compile(r'([!-~])([12])\1([0-9A-Fa-f.:]+)\1(\d{1,5})\1\Z')
_PORT = re.compile(r'\d{1,3}(,\d{1,3}){5}\Z')


class FtpError(Exception):
    """An FTP command failed. The error contains the code and the text of the reply."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f'{code} {text}')
        self.code, self.text = code, text


class LineTooLongError(Exception):
    """A client sent more than MAX_LINE bytes without a line ending."""


@frozen
class Command:
    """A parsed FTP command. `verb` is in capitals; `argument` is '' if there is none."""

    verb: str
    argument: str = ''


@frozen
class ServerReply:
    """A single-line or multiline FTP reply. `lines` is the text between the first and the last line. `after` is called
    after the reply was written."""

    code: int
    text: str
    lines: Sequence[str] = ()
    after: Callable[[], None] | None = None

    def encode(self) -> bytes:
        """Return the bytes on the connection."""
        text = _one_line(self.text)
        if not self.lines:
            return f'{self.code} {text}\r\n'.encode()
        between = ''.join(f' {_one_line(line)}\r\n' for line in self.lines)
        return f'{self.code}-{text}\r\n{between}{self.code} End\r\n'.encode()


def _one_line(text: str) -> str:
    printable = ''.join(character if character.isprintable() else '?' for character in text)
    return printable.encode('utf-8', 'replace').decode()


@define
class CommandBuffer:
    """Splits the input of a client into lines, and removes Telnet commands (RFC 959 §4.1.3, RFC 854)."""

    _received: bytearray = field(factory=bytearray, init=False)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that are complete now. Raises LineTooLongError."""
        self._received += data
        *lines, rest = bytes(self._received).split(b'\n')
        self._received = bytearray(rest)
        if len(rest) > MAX_LINE or any(len(line) > MAX_LINE for line in lines):
            raise LineTooLongError
        return [strip_telnet(line.removesuffix(b'\r')) for line in lines]

    def clear(self) -> None:
        """Drop what was received: it came before a TLS handshake, and anybody may have sent it."""
        self._received.clear()


def strip_telnet(line: bytes) -> bytes:
    """Return a line without its Telnet commands. Clients send IAC IP and IAC DM before ABOR, and IAC IAC stands for one
    byte 255."""
    if _IAC not in line:
        return line
    plain, position = bytearray(), 0
    while position < len(line):
        byte = line[position]
        following = line[position + 1] if position + 1 < len(line) else -1
        if byte != _IAC:
            plain.append(byte)
            position += 1
        elif following == _IAC:
            plain.append(byte)
            position += 2
        else:
            position += 3 if following in _TELNET_OPTIONS else 2
    return bytes(plain)


def parse_command(line: bytes) -> Command:
    """Parse a command line. Raises FtpError 500 for an invalid verb, and FtpError 501 for an argument that is not UTF-8
    or contains a NUL character."""
    verb, _, argument = line.partition(b' ')
    if not verb.isalpha() or len(verb) > 8:
        raise FtpError(500, 'The command is not understood')
    try:
        text = argument.decode()
    except UnicodeDecodeError:
        raise FtpError(501, 'The argument is not UTF-8 (RFC 2640)') from None
    if '\0' in text:
        raise FtpError(501, 'The argument has a NUL')
    return Command(verb.decode('ascii').upper(), text)


def resolve_path(directory: Path, argument: str) -> Path:
    """Resolve the path in an argument relative to a directory. '..' never leads above the root. Raises FtpError 501 if
    there is no argument."""
    if not argument:
        raise FtpError(501, 'A name is missing')
    parts = [] if argument.startswith('/') else list(directory)
    for part in argument.split('/'):
        if part == '..':
            del parts[-1:]
        elif part not in ('', '.'):
            parts.append(part)
    return tuple(parts)


def check_new_name(path: Path) -> None:
    """Check the name of a file or directory that will be created. Raises FtpError 553 for the root directory, for
    control characters, and for names that are too long."""
    if not path:
        raise FtpError(553, 'The name is that of the root directory')
    if not path[-1].isprintable():
        raise FtpError(553, 'The name has control characters')
    if len(path[-1].encode()) > 255:
        raise FtpError(553, 'The name is longer than 255 bytes')


def quote_path(path: Path) -> str:
    """Return a path in double quotes, in the form in which replies contain it (RFC 959 appendix II)."""
    return '"/{}"'.format('/'.join(path).replace('"', '""'))


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Return whether a file name matches one of the patterns, ignoring case."""
    return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)


def parse_offset(argument: str) -> int:
    """Parse the offset in the argument of REST. Raises FtpError 501."""
    if not argument.isascii() or not argument.isdigit() or len(argument) > 18:
        raise FtpError(501, 'The offset is no number of bytes')
    return int(argument)


def parse_port(argument: str) -> tuple[str, int]:
    """Parse the host and port in the argument of PORT. Raises FtpError 501."""
    numbers = [int(number) for number in argument.split(',')] if _PORT.match(argument) else []
    if not numbers or max(numbers) > 255:
        raise FtpError(501, 'PORT takes six numbers up to 255')
    return '.'.join(map(str, numbers[:4])), numbers[4] * 256 + numbers[5]


def parse_eprt(argument: str) -> tuple[str, int]:
    """Parse the host and port in the argument of EPRT (RFC 2428 §2). Raises FtpError 501 and 522."""
    found = _EPRT.match(argument)
    if found is None:
        raise FtpError(501, 'EPRT takes |protocol|address|port|')
    try:
        host = ip_address(found[3])
    except ValueError:
        raise FtpError(501, 'EPRT names no address') from None
    if host.version != (4 if found[2] == '1' else 6):
        raise FtpError(522, 'The network protocol is not that of the address, use (1,2)')
    if int(found[4]) > 65_535:
        raise FtpError(501, 'EPRT names no port')
    return str(host), int(found[4])


def format_pasv(host: str, port: int) -> str:
    """Format the text of the reply to PASV, which contains the address of the data connection."""
    return f'Entering Passive Mode ({host.replace(".", ",")},{port >> 8},{port & 255})'


_ERRORS = {
    errno.ENOENT: (550, 'No such file or directory'),
    errno.EACCES: (550, 'Permission denied'),
    errno.EPERM: (550, 'Permission denied'),
    errno.EROFS: (550, 'Permission denied'),
    errno.ENOTDIR: (550, 'Not a directory'),
    errno.ELOOP: (550, 'Symbolic links are not followed'),
    errno.EISDIR: (550, 'Is a directory'),
    errno.EEXIST: (550, 'Exists already'),
    errno.ENOTEMPTY: (550, 'The directory is not empty'),
    errno.EINVAL: (553, 'The name is not allowed here'),
    errno.ENAMETOOLONG: (553, 'The name is too long'),
    errno.EBUSY: (450, 'It is being uploaded'),
    errno.ENOSPC: (452, 'No space is left on the disk'),
    errno.EDQUOT: (452, 'No space is left on the disk'),
    errno.EFBIG: (552, 'The file is too large'),
}


def to_ftp_error(error: OSError) -> FtpError:
    """Convert a file system error to an FtpError, which reveals nothing about paths outside of the directory."""
    code, text = _ERRORS.get(error.errno or 0, (451, 'The file system reports an error'))
    return FtpError(code, text)
