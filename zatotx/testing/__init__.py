"""For the tests of services: a broker in memory, scripted connections, a clock (docs/testing.md).

    from zatotx.testing import ServiceTestCase, load

Beside that, the doubles that zatotx's own tests use, each in the module of its subject.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zatotx.testing.call_result import Answer, ChannelAnswer
    from zatotx.testing.case import ServiceTestCase, ServiceTesting
    from zatotx.testing.doubles import Response, Row
    from zatotx.testing.kit import ServiceKit
    from zatotx.testing.loading import ServiceFile, load
    from zatotx.testing.pending_call import Pending
    from zatotx.testing.script import Call, Unscripted

# Where each public name lives, loaded when it is asked for.
_PLACES = {
    'zatotx.testing.call_result': ('Answer', 'ChannelAnswer'),
    'zatotx.testing.case': ('ServiceTestCase', 'ServiceTesting'),
    'zatotx.testing.doubles': ('Response', 'Row'),
    'zatotx.testing.kit': ('ServiceKit',),
    'zatotx.testing.loading': ('ServiceFile', 'load'),
    'zatotx.testing.pending_call': ('Pending',),
    'zatotx.testing.script': ('Call', 'Unscripted'),
}  # fmt: skip
_HOME = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    'Answer', 'Call', 'ChannelAnswer', 'Pending', 'Response', 'Row', 'ServiceFile', 'ServiceKit', 'ServiceTestCase',
    'ServiceTesting', 'Unscripted', 'load',
]  # fmt: skip


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
