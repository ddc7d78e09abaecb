"""What connections of a kind have: a scripted one has no method and takes no argument that a real one does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen


@frozen(kw_only=True)
class ApiSignature:
    """The methods of one kind's connections, and what they take."""

    title: str  # 'REST'
    methods: Sequence[str]
    zato_methods: Sequence[str] = ()  # of `.conn`
    called: str = ''  # what comes first in `call`
    positional: Sequence[str] = ()
    options: Sequence[str] = ()

    def must_have(self, method: str, methods: Sequence[str]) -> None:
        """Raises AttributeError where it is none of these."""
        if method not in methods:
            raise AttributeError(f'An outgoing {self.title} connection has no {method} here, but {", ".join(methods)}')

    def must_take(self, method: str, args: Sequence[Any], options: Mapping[str, Any]) -> None:
        """Raises TypeError for arguments that the method does not take."""
        own = (self.called,) if method == 'call' else ()
        taken = () if method == 'ping' else (*own, *self.positional)
        if len(args) > len(taken):
            raise TypeError(f'{method}() takes no more than {len(taken)} arguments without a name, '
                            f'{len(args)} were given')  # fmt: skip
        known = (*taken, *self.options) if taken else ()
        if unknown := [name for name in options if name not in known]:
            raise TypeError(f'{method}() has no argument {", ".join(unknown)}')
