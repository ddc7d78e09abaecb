"""The test kit for services, which consists of an in-memory broker, scripted connections, and a clock
(docs/testing.md).

    from zatotx.testing import ServiceTestCase, load

It also contains the test doubles of zatotx's own tests, each in a module named for its subject.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zatotx.testing.call_result import Answer, ChannelAnswer, Pending
    from zatotx.testing.connection_results import Response, Row
    from zatotx.testing.scripted_calls import Call, Unscripted
    from zatotx.testing.service_file import ServiceFile, load
    from zatotx.testing.service_kit import ServiceKit
    from zatotx.testing.service_test_case import ServiceTestCase, ServiceTesting

# Maps each module to the public names it defines, which load on first access.
_PUBLIC_NAMES = {
    'zatotx.testing.call_result': ('Answer', 'ChannelAnswer', 'Pending'),
    'zatotx.testing.service_test_case': ('ServiceTestCase', 'ServiceTesting'),
    'zatotx.testing.connection_results': ('Response', 'Row'),
    'zatotx.testing.service_kit': ('ServiceKit',),
    'zatotx.testing.service_file': ('ServiceFile', 'load'),
    'zatotx.testing.scripted_calls': ('Call', 'Unscripted'),
}  # fmt: skip
_MODULE_OF_NAME = {name: module for module, names in _PUBLIC_NAMES.items() for name in names}

__all__ = [
    'Answer', 'Call', 'ChannelAnswer', 'Pending', 'Response', 'Row', 'ServiceFile', 'ServiceKit', 'ServiceTestCase',
    'ServiceTesting', 'Unscripted', 'load',
]  # fmt: skip


def __getattr__(name: str) -> Any:
    module = _MODULE_OF_NAME.get(name)
    if module is None:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF_NAME})
