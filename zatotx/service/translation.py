"""Implements `self.translate`, which translates values with the data dictionary."""

from __future__ import annotations

from hashlib import sha1, sha256
from typing import Any

from attrs import frozen

from zatotx.service.redis_coroutine_runner import RedisCoroutineRunner


@frozen
class TranslationResult:
    """The result of a translation. It contains the translated value, or None if there is no translation, and attributes
    for debugging."""

    value2: str | None

    def __bool__(self) -> bool:
        return self.value2 is not None

    def __str__(self) -> str:
        return self.value2 or ''

    @property
    def repr(self) -> str:
        """The value as a Python literal."""
        return repr(str(self))

    @property
    def hex(self) -> str:
        """The UTF-8 bytes of the value in hexadecimal."""
        return str(self).encode().hex()

    @property
    def sha1(self) -> str:
        """The SHA-1 of the value, in hexadecimal."""
        return sha1(str(self).encode(), usedforsecurity=False).hexdigest()

    @property
    def sha256(self) -> str:
        """The SHA-256 of the value, in hexadecimal."""
        return sha256(str(self).encode()).hexdigest()


def translate(service: Any, system1: str, key1: str, value1: object, system2: str, key2: str) -> Any:
    """Translate a value of one system to the corresponding value of another system. The translations are stored in the
    data dictionary.

    Returns an object with `value2`, which is None, and the object false, if there is no such translation; awaitable in
    async services. `value1` may be text or a number. Raises Timeout and ServiceUnavailable naming Redis.
    """
    access = RedisCoroutineRunner(service._zatotx)

    async def run() -> TranslationResult:
        found = await access.redis.data_dictionary.translate(system1, key1, str(value1), system2, key2)
        return TranslationResult(found)

    return access.run(run)
