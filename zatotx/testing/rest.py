"""What outgoing REST connections have: a scripted one has no method and takes no argument that a real one does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

REST = 'rest'
METHODS = ('get', 'post', 'put', 'patch', 'delete', 'head', 'options', 'call', 'ping')
ZATO_METHODS = ('get', 'post', 'put', 'patch', 'delete', 'head', 'options', 'send', 'ping')  # of `.conn`
POSITIONAL = ('data', 'params', 'headers')
OPTIONS = ('timeout', 'model', 'stream')


def must_have(kind: str, method: str, methods: Sequence[str]) -> None:
    """Raises AttributeError where a connection of that kind is of REST, and has no such method."""
    if kind == REST and method not in methods:
        raise AttributeError(f'An outgoing REST connection has no {method} here, but {", ".join(methods)}')


def must_take(kind: str, method: str, args: Sequence[Any], options: Mapping[str, Any]) -> None:
    """Raises TypeError for arguments that a REST connection's method does not take."""
    if kind != REST:
        return
    own = ('method',) if method == 'call' else ()
    taken = () if method == 'ping' else (*own, *POSITIONAL)
    if len(args) > len(taken):
        raise TypeError(f'{method}() takes no more than {len(taken)} arguments without a name, {len(args)} were given')
    known = (*taken, *OPTIONS) if taken else ()
    if unknown := [name for name in options if name not in known]:
        raise TypeError(f'{method}() has no argument {", ".join(unknown)}')
