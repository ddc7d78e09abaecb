"""The listen address of a node as stored in its row of the ODB."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ANYWHERE = '0.0.0.0'  # noqa: S104 - the default interface of Twisted endpoints


def first_tcp_address(kind_settings: Mapping[str, Mapping[str, Any]]) -> tuple[str, int]:
    """Return host and port of the first listener that has a port, from its Twisted endpoint description, e.g.
    `tcp:17010` or `ssl:port=17010:interface=10.0.0.1:…`; ('', 0) if there is none."""
    for section in kind_settings.values():
        for description in section.get('listen', ()):
            _, *words = description.replace('\\:', '\0').split(':')
            named = dict(word.split('=', 1) for word in words if '=' in word)
            port = named.get('port') or next((word for word in words if '=' not in word), '')
            if port.isdigit():
                return named.get('interface', ANYWHERE).replace('\0', ':'), int(port)
    return '', 0
