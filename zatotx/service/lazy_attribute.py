"""Defines the descriptor lazy_attribute, which computes an attribute when it is first accessed, so that creating
service instances is cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

T = TypeVar('T')


class lazy_attribute(Generic[T]):  # noqa: N801 - used as a decorator and as a declaration
    """A descriptor that calls `make(instance)` when the attribute is first accessed, and stores the result in the
    instance."""

    def __init__(self, make: Callable[[Any], T], doc: str = '') -> None:
        self.make = make
        self.name = ''
        self.__doc__ = doc or make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> Self | T:
        if instance is None:
            return self
        value = self.make(instance)
        instance.__dict__[self.name] = value
        return value
