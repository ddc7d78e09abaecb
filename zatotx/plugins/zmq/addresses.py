"""Parses and validates ZeroMQ addresses and CURVE keys in configurations. Pure: no I/O, and no ZeroMQ."""

from __future__ import annotations

import re

# The alphabet of Z85 (ZeroMQ RFC 32).
_Z85 = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#'
_VALUES = {letter: value for value, letter in enumerate(_Z85)}
_KEY_SIZE = 40  # characters of a key of 32 bytes
_TCP = re.compile(r'^tcp://(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[A-Za-z0-9._*-]+):(?P<port>\d{1,5})$')
_IPC = re.compile(r'^ipc://(?P<path>.+)$')
_MAX_IPC_PATH = 107  # bytes of a path of a Unix socket


def parse_addresses(text: str) -> tuple[str, ...]:
    """Split a text into addresses, which are separated by commas or white space."""
    return tuple(filter(None, re.split(r'[\s,]+', text)))


def address_error(text: str) -> str:
    """Return an error message if a text is not a valid list of ZeroMQ addresses, otherwise ''."""
    addresses = parse_addresses(text)
    if not addresses:
        return 'must have an address such as tcp://127.0.0.1:5555'
    errors = [error for address in addresses if (error := _error(address))]
    if not errors and len(set(addresses)) < len(addresses):
        return 'must not have an address twice'
    return '; '.join(errors)


def is_wildcard_host(address: str) -> bool:
    """Return whether an address is a wildcard address, which stands for all interfaces and to which clients cannot
    connect."""
    return address.startswith(('tcp://*:', 'tcp://0.0.0.0:', 'tcp://[::]:'))


def curve_key_error(text: str) -> str:
    """Return an error message if a Z85-encoded CURVE key is invalid, otherwise ''. The message never contains the
    key."""
    if len(text) != _KEY_SIZE:
        return f"must be a CURVE key of {_KEY_SIZE} characters: see 'zatotx crypto zmq-key'"
    try:
        decode_key(text)
    except ValueError as error:
        return str(error)
    return ''


def decode_key(text: str) -> bytes:
    """Decode a key in Z85 to 32 bytes. Raises ValueError."""
    decoded = b''
    for start in range(0, _KEY_SIZE, 5):
        number = 0
        for letter in text[start : start + 5]:
            if letter not in _VALUES:
                raise ValueError('has a character that does not occur in Z85 keys')
            number = number * 85 + _VALUES[letter]
        if number >= 2**32:
            raise ValueError('is no valid Z85 key')
        decoded += number.to_bytes(4, 'big')
    return decoded


def _error(address: str) -> str:
    if found := _IPC.match(address):
        if len(found['path'].encode('utf-8', 'surrogateescape')) > _MAX_IPC_PATH:
            return f'{address} has a path of more than {_MAX_IPC_PATH} bytes'
        return ''
    found = _TCP.match(address)
    if found is None:
        return f'{address} must have the form tcp://HOST:PORT or ipc:///PATH'
    return '' if 1 <= int(found['port']) <= 65_535 else f'{address} must have a port from 1 to 65535'
