"""Imports the modules of channels and connections when the first object that needs them is configured. Until then, a
placeholder stands for the namespace of the connections.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, Protocol

from zatotx.connectors.connection_registry import ConnectionRegistry
from zatotx.interfaces.outgoing import IServiceCall
from zatotx.schema.snapshot import Snapshot


class TypeWithModules(Protocol):
    """A ChannelType or ConnectionType that declares the modules to import on first use."""

    @property
    def object_type(self) -> str: ...

    @property
    def modules(self) -> tuple[str, ...]: ...


def modules_to_import(types: Iterable[TypeWithModules], snapshot: Snapshot) -> list[str]:
    """Return the modules that must still be imported for the configured objects of the given types."""
    return [module for each in types if snapshot.has_type(each.object_type)
            for module in each.modules if module not in sys.modules]  # fmt: skip


def import_modules_now(modules: Sequence[str]) -> None:
    """Import the modules with the given names. Blocking."""
    for module in modules:
        import_module(module)


class LazyNamespace:
    """A ConnectionType.namespace whose class is imported with the first connection. The class is given as
    'package.module:Class', and its module must be listed in ConnectionType.modules."""

    __slots__ = ('_class_name', '_namespace', 'module')

    def __init__(self, path: str) -> None:
        self.module, _, self._class_name = path.partition(':')
        self._namespace: Any = None

    def __call__(self, registry: ConnectionRegistry[Any], call: IServiceCall) -> Any:
        if self._namespace is None:
            if not registry.connections:
                return EmptyConnectionNamespace(registry, call)
            self._namespace = getattr(import_module(self.module), self._class_name)
        return self._namespace(registry, call)


class EmptyConnectionNamespace:
    """An empty `self.out.<name>`, which is used on a node that has no usable connections of the type."""

    __slots__ = ('_call', '_registry')

    def __init__(self, registry: ConnectionRegistry[Any], call: IServiceCall) -> None:
        self._registry, self._call = registry, call

    def __getitem__(self, name: str) -> Any:
        return self._registry.find(name, self._call.cid)  # raises the error

    get = __getitem__
