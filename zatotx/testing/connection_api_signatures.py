"""The signatures of scripted connections. A kind declares the methods that its connections have in the users' test
kit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from attrs import frozen

# How scripted values become results: unchanged, as HTTP responses, or as database rows.
VALUES, HTTP_RESPONSES, ROWS = 'values', 'http', 'rows'


@frozen(kw_only=True)
class ApiSignature:
    """The methods of one kind's connections, with their arguments, for scripted connections."""

    title: str  # 'REST'
    methods: Sequence[str]
    zato_methods: Sequence[str] = ()  # methods of `.conn`
    first_argument: str = ''  # the first argument of `call`
    positional: Sequence[str] = ()
    arguments: Mapping[str, Sequence[str]] = {}  # of single methods, by position, instead of `positional`
    options: Sequence[str] = ()
    iterators: Sequence[str] = ()  # methods whose result is read with `async for` or `for`: a scripted list
    results: str = VALUES  # VALUES, HTTP_RESPONSES or ROWS
    contexts: Sequence[str] = ()  # methods that return a context manager with the same methods, sync and async
    files: Sequence[str] = ()  # methods that open a file: the script gives its content, or a file to write to

    @property
    def has_http_results(self) -> bool:
        """Whether results have a status and headers."""
        return self.results == HTTP_RESPONSES

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


@cache
def method_signatures_by_kind() -> Mapping[str, ApiSignature]:
    """Return the signatures of the installed kinds, by their names in `self.out`. The connections of other kinds accept
    every method."""
    from zatotx.connectors.kind_registry import find_kinds  # loads TLS: importing the test kit stays quick

    return {name: signature for found in find_kinds() if found.kind.doubles
            for name, signature in found.load(found.kind.doubles).items()}  # fmt: skip


_UNKNOWN = ApiSignature(title='', methods=())


def outgoing_method_signatures(kind: str) -> ApiSignature:
    """Return the methods that an outgoing connection kind offers in `self.out.<kind>`, with their arguments. The result
    has no methods for a kind that is not installed."""
    return method_signatures_by_kind().get(kind, _UNKNOWN)
