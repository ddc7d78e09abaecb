"""Encodes and parses FTP commands and replies (RFC 959), including the addresses of data connections (RFC 959, RFC
2428).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address

from attrs import frozen

MAX_LINE = 8192  # bytes of a line of a reply
MAX_REPLY = 65_536  # bytes of a reply with several lines
MAX_ENCODED_PORT = 65_535

_PASSIVE = re.compile(r'(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3})')
_EXTENDED_PASSIVE = re.compile(r'\(([\x21-\x7e])\1\1(\d{1,5})\1\)')


class InvalidReply(ValueError):  # noqa: N818 - what it is
    """The peer does not speak FTP, or its reply lacks a required part."""


@frozen
class FtpReply:
    """A parsed FTP reply: the code, and the lines without codes and line endings."""

    code: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The whole text in one line."""
        return ' '.join(' '.join(self.lines).split())

    @property
    def is_preliminary(self) -> bool:
        """Whether another reply follows (1xx)."""
        return self.code < 200

    @property
    def is_success(self) -> bool:
        """Whether the command is complete (2xx)."""
        return 200 <= self.code < 300

    @property
    def is_intermediate(self) -> bool:
        """Whether another command is expected (3xx)."""
        return 300 <= self.code < 400

    def __str__(self) -> str:
        return f'{self.code} {self.text}'


class ReplyParser:
    """Parses the replies of a server incrementally."""

    def __init__(self, encoding: str = 'utf-8') -> None:
        self._encoding = encoding
        self._buffer = b''
        self._lines: list[str] = []  # of a reply that is not complete
        self._size = 0
        self._code = 0

    @property
    def is_empty(self) -> bool:
        """Whether no part of another reply has arrived."""
        return not self._buffer and not self._lines

    def feed(self, data: bytes) -> list[FtpReply]:
        """Return the replies that are complete now. Raises InvalidReply."""
        *lines, self._buffer = (self._buffer + data).split(b'\n')
        replies = [reply for line in lines if (reply := self._line(line)) is not None]
        if len(self._buffer) > MAX_LINE:
            raise InvalidReply(f'a line of its reply is longer than {MAX_LINE} bytes')
        return replies

    def _line(self, data: bytes) -> FtpReply | None:
        if len(data) > MAX_LINE:
            raise InvalidReply(f'a line of its reply is longer than {MAX_LINE} bytes')
        line = data.removesuffix(b'\r').decode(self._encoding, 'surrogateescape')
        code, separator, text = line[:3], line[3:4], line[4:]
        is_coded = len(code) == 3 and code.isascii() and code.isdigit() and separator in ('', ' ', '-')
        if self._code:
            self._size += len(data)
            if self._size > MAX_REPLY:
                raise InvalidReply(f'its reply is longer than {MAX_REPLY} bytes')
            if is_coded and int(code) == self._code and separator != '-':
                return self._complete(text)
            self._lines.append(text if is_coded and int(code) == self._code else line)
            return None
        if not is_coded or not '1' <= code[0] <= '6':
            raise InvalidReply('its reply is not FTP')
        self._code, self._size = int(code), len(data)
        if separator == '-':
            self._lines.append(text)
            return None
        return self._complete(text)

    def _complete(self, text: str) -> FtpReply:
        reply = FtpReply(self._code, (*self._lines, text))
        self._lines, self._code, self._size = [], 0, 0
        return reply


def encode_command(name: str, argument: str = '', encoding: str = 'utf-8') -> bytes:
    """Encode a command line. Raises ValueError for an argument that contains a line end, or characters that the
    encoding cannot represent."""
    if error := path_error(argument):
        raise ValueError(f'{name}: the argument {error}')
    line = f'{name} {argument}' if argument else name
    return line.encode(encoding, 'surrogateescape') + b'\r\n'


def path_error(path: str) -> str:
    """Return an error message if a path cannot be sent in an FTP command, otherwise ''."""
    return 'has a line end or a NUL character' if any(character in path for character in '\r\n\0') else ''


# Addresses of data connections.


def parse_passive_port(reply: FtpReply) -> int:
    """Parse the port in a reply to PASV. The address in the reply is ignored, because it is wrong behind NAT, and
    because a hostile server could specify another host. Raises InvalidReply."""
    match = _PASSIVE.search(reply.text)
    numbers = [int(number) for number in match.groups()] if match else []
    if not numbers or max(numbers) > 255:
        raise InvalidReply('its reply to PASV has no port')
    return _port(numbers[4] * 256 + numbers[5], 'PASV')


def parse_extended_passive_port(reply: FtpReply) -> int:
    """Parse the port in a reply to EPSV (RFC 2428). Raises InvalidReply."""
    match = _EXTENDED_PASSIVE.search(reply.text)
    if not match:
        raise InvalidReply('its reply to EPSV has no port')
    return _port(int(match[2]), 'EPSV')


def encode_port(host: str, port: int) -> str:
    """Encode the argument of PORT for an IPv4 address."""
    return ','.join([*host.split('.'), str(port // 256), str(port % 256)])


def parse_port(argument: str) -> tuple[str, int]:
    """Parse the address and port of a PORT command. Raises ValueError."""
    match = _PASSIVE.fullmatch(argument.strip())
    numbers = [int(number) for number in match.groups()] if match else []
    if not numbers or max(numbers) > 255:
        raise ValueError('PORT takes six numbers from 0 to 255')
    return '.'.join(map(str, numbers[:4])), numbers[4] * 256 + numbers[5]


def encode_extended_port(host: str, port: int) -> str:
    """Encode the argument of EPRT (RFC 2428)."""
    return f'|{2 if ":" in host else 1}|{host}|{port}|'


def parse_extended_port(argument: str) -> tuple[str, int]:
    """Parse the address and port of an EPRT command. Raises ValueError."""
    text = argument.strip()
    parts = text.split(text[:1]) if text else []
    if len(parts) != 5 or parts[0] or parts[4] or not parts[3].isascii() or not parts[3].isdigit():
        raise ValueError('EPRT takes |family|address|port|')
    address = ip_address(parts[2])
    if parts[1] != ('1' if address.version == 4 else '2'):
        raise ValueError('EPRT names a family that is not that of its address')
    port = int(parts[3])
    if not 0 < port <= MAX_ENCODED_PORT:
        raise ValueError('EPRT names no port')
    return str(address), port


def encode_passive(host: str, port: int) -> str:
    """Encode the text of the reply to PASV for an IPv4 address."""
    return f'Entering Passive Mode ({encode_port(host, port)}).'


def encode_extended_passive(port: int) -> str:
    """Encode the text of the reply to EPSV."""
    return f'Entering Extended Passive Mode (|||{port}|)'


def parse_features(reply: FtpReply) -> dict[str, str]:
    """Parse the features in a reply to FEAT (RFC 2389): names in capitals, with their parameters."""
    features = {}
    for line in reply.lines[1:-1]:
        name, _, parameters = line.strip().partition(' ')
        if name:
            features[name.upper()] = parameters
    return features


def parse_directory_reply(reply: FtpReply) -> str:
    """Parse the path in a reply to PWD or MKD. The path is in double quotes, and quotes within the path are doubled.
    Returns '' if the reply contains no path."""
    match = re.search(r'"((?:[^"]|"")*)"', reply.text)
    return match[1].replace('""', '"') if match else ''


def encode_lines(code: int, lines: Sequence[str], encoding: str = 'utf-8') -> bytes:
    """Encode a reply of one or more lines as bytes; all lines but the last one are marked as continued."""
    *first, last = lines or ('',)
    text = ''.join(f'{code}-{line}\r\n' for line in first) + f'{code} {last}\r\n'
    return text.encode(encoding, 'surrogateescape')


def _port(number: int, command: str) -> int:
    if not 0 < number <= MAX_ENCODED_PORT:
        raise InvalidReply(f'its reply to {command} names no port')
    return number
