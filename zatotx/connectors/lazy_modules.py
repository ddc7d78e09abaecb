"""Imports the modules of channels and connections when the first object that needs them is configured."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Protocol

from zatotx.schema.snapshot import Snapshot


class LazyType(Protocol):
    """A ChannelType or ConnectionType."""

    @property
    def object_type(self) -> str: ...

    @property
    def modules(self) -> tuple[str, ...]: ...


def missing_modules(types: Iterable[LazyType], snapshot: Snapshot) -> list[str]:
    """Return the modules of the types that have objects, without those that are imported."""
    return [module for each in types if snapshot.objects_of_types(each.object_type)
            for module in each.modules if module not in sys.modules]  # fmt: skip


def import_modules(modules: Sequence[str]) -> None:
    """Import modules. Blocks."""
    for module in modules:
        import_module(module)
