"""Finds the operations for a type of component."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from zatotx.cli.environment.component_types import TYPES
from zatotx.cli.environment.components.component_operations import ComponentOperations
from zatotx.cli.environment.environment_layout import Component


def operations_of(part: Component) -> ComponentOperations:
    """Return the operations of a component's type."""
    return operations_of_type(part.kind)


@cache
def operations_of_type(name: str) -> ComponentOperations:
    """Return the operations of a type of component. They are the constant OPERATIONS of the type's module in
    `components/`."""
    module = import_module(f'zatotx.cli.environment.components.{TYPES[name].module}')
    found: ComponentOperations = module.OPERATIONS
    return found


def all_operations() -> list[ComponentOperations]:
    """Return the operations of all component types, in start order."""
    return [operations_of_type(each.name) for each in sorted(TYPES.values(), key=lambda one: one.start_order)]
