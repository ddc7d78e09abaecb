"""Signatures of outgoing connections, so that scripted ones accept no method or argument that real ones lack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen


@frozen(kw_only=True)
class ApiSignature:
    """The methods of one kind's connections, and their arguments."""

    title: str  # 'REST'
    methods: Sequence[str]
    zato_methods: Sequence[str] = ()  # methods of `.conn`
    first_argument: str = ''  # the first argument of `call`
    positional: Sequence[str] = ()
    arguments: Mapping[str, Sequence[str]] = {}  # of single methods, by position, instead of `positional`
    files: Sequence[str] = ()  # methods that open a file: the script gives its content, or a file to write to
    options: Sequence[str] = ()

    def check_method(self, method: str, methods: Sequence[str]) -> None:
        """Raise AttributeError if the connection has no such method."""
        if method not in methods:
            raise AttributeError(f'An outgoing {self.title} connection has no {method} here, but {", ".join(methods)}')

    def check_arguments(self, method: str, args: Sequence[Any], options: Mapping[str, Any]) -> None:
        """Raise TypeError for arguments that the method does not accept."""
        first = (self.first_argument,) if method == 'call' else ()
        positional = () if method == 'ping' else (*first, *self.arguments.get(method, self.positional))
        if len(args) > len(positional):
            raise TypeError(f'{method}() takes no more than {len(positional)} arguments without a name, '
                            f'{len(args)} were given')  # fmt: skip
        accepted = (*positional, *self.options) if positional else ()
        if unknown := [name for name in options if name not in accepted]:
            raise TypeError(f'{method}() has no argument {", ".join(unknown)}')
