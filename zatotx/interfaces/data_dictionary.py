"""Interface of the storage of the data dictionary."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from zope.interface import Interface

from zatotx.rules.redis.data_dictionary import DataDictionary

T = TypeVar('T')


class IDataDictionaryStore(Interface):
    """The data dictionary of a cluster. Every method fails with the errors of ICommands.execute."""

    def load() -> Deferred[DataDictionary]:
        """Return the dictionary, a copy."""

    def change(function: Callable[[DataDictionary], T]) -> Deferred[T]:
        """Change the dictionary atomically: call `function` with a copy, which it changes in place, store that unless
        another change was faster, and fires with the function's result. `function` may be called several times; what it
        raises prevents the change. Fails with Conflict if others are faster ten times."""

    def replace(dictionary: DataDictionary) -> Deferred[None]:
        """Replace the dictionary."""

    def translate(system1: str, key1: str, value1: str, system2: str, key2: str) -> Deferred[str | None]:
        """Return the translated value; None if there is no such translation."""
