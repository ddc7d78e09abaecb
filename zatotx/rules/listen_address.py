"""Parses the addresses on which channels listen, such as `0.0.0.0:17021`, `[::]:17021`, or a Twisted endpoint
description. Pure functions."""

from __future__ import annotations

import re

_HOST_PORT = re.compile(r'(?P<host>\[[0-9A-Fa-f:.%]+\]|[0-9.]+|localhost):(?P<port>\d{1,5})\Z')
_ENDPOINT = re.compile(r'(tcp|tcp6|ssl|unix|haproxy|systemd):.+\Z')
_LOCALHOST = '127.0.0.1'


def to_endpoint(address: str) -> str:
    """Convert an address to a Twisted endpoint description. Endpoint descriptions are returned unchanged."""
    found = _HOST_PORT.match(address)
    if found is None:
        return address
    host, port = found['host'].strip('[]'), int(found['port'])
    if ':' in host:
        escaped = host.replace(':', '\\:')
        return f'tcp6:port={port}:interface={escaped}'
    return f'tcp:port={port}:interface={_LOCALHOST if host == "localhost" else host}'


def address_error(address: str) -> str:
    """Return an error message if an address is invalid, otherwise ''."""
    found = _HOST_PORT.match(address)
    if found is not None and 1 <= int(found['port']) <= 65_535:
        return ''
    if found is None and _ENDPOINT.match(address):
        return ''
    return "must be HOST:PORT with an IP address, such as '0.0.0.0:17021', or a Twisted endpoint description"
