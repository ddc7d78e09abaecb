"""What is read from a service class once, at its deployment."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zatotx.service.metadata import InvalidServiceClass, _accepts_only_self, describe_service
from zatotx.service.service import Service


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def wrapper(*args: Any, **options: Any) -> Any:
        return function(*args, **options)
    return wrapper


class Declared:
    def __init__(self, one: int = 1) -> None: ...

    def only_self(self) -> None: ...

    def defaults(self, one: int = 1, *, two: int = 2) -> None: ...

    def needs_one(self, one: int) -> None: ...

    def needs_named(self, *, one: int) -> None: ...

    def some_named(self, *, one: int, two: int = 2) -> None: ...

    def anything(*args: Any, **options: Any) -> None: ...

    def positional(self, one: int, /) -> None: ...

    def nothing() -> None: ...  # type: ignore[misc]

    wrapped = decorated(only_self)
    wrapped_wrongly = decorated(needs_one)


class Plain(Service):
    async def handle(self) -> None:
        """Do nothing."""


class WithConstructor(Plain):
    def __init__(self, one: int) -> None: ...


class HandlerTests(SynchronousTestCase):
    def test_a_service_without_constructor_is_checked_quickly(self) -> None:
        """The signature of `object.__init__` is not asked for: inspect parses its text, which takes longer than all
        other checks of a service. A constructor of the service's own is checked."""
        self.patch(inspect, 'signature', None)
        self.assertEqual(describe_service(Plain).reads_input, False)
        self.assertRaises(InvalidServiceClass, describe_service, WithConstructor)

    def test_who_can_be_called_with_self_alone(self) -> None:
        """The quick look at plain functions says what their signatures say, which takes ten times as long."""
        methods = [*vars(Declared).values(), object.__init__, Declared]
        for method in filter(callable, methods):
            try:
                inspect.signature(method).bind(None)
                expected = True
            except TypeError:
                expected = False
            self.assertEqual(_accepts_only_self(method), expected, method)
