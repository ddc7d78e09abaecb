"""The Redis commands of services. They are checked with the table of allowed commands, and executed on a connection of
a restricted user.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from zatotx.interfaces.redis import IFencedWriter
from zatotx.interfaces.service_redis import CommandRefusedError, IServiceCommands
from zatotx.rules.redis.command_table import (
    LISTS_KEYS,
    SCRIPTS,
    command_name,
    command_refusal_reason,
    strip_cluster_keys,
)

Words = Sequence[object]


@implementer(IServiceCommands)
class ServiceCommands:
    """Implements IServiceCommands. It executes the commands that the table allows, and removes the internal keys of
    clusters from replies."""

    def __init__(self, client: Any, fenced: IFencedWriter, scripts_problem: Callable[[], str]) -> None:
        """`client`: ICommands, IPipelinedCommands and ITransactions. `fenced` writes through the same client.
        `scripts_problem` returns why scripts are not available now, as a clause; '' if they are."""
        self._client = client
        self._fenced = fenced
        self._scripts_problem = scripts_problem

    def execute(self, command: str, *args: object) -> Deferred[object]:
        """See ICommands."""
        words = (*command.upper().split(' '), *args)
        if error := self._error((words,)):
            return fail(error)
        reply: Deferred[object] = self._client.execute(*words)
        if words[0] in LISTS_KEYS:
            reply.addCallback(lambda value: strip_cluster_keys(str(words[0]), value))
        return reply

    def execute_batch(self, commands: Sequence[Words]) -> Deferred[list[object]]:
        """See IPipelinedCommands."""
        return self._execute_all(self._client.execute_batch, commands)

    def execute_transaction(self, commands: Sequence[Words]) -> Deferred[list[object]]:
        """See ITransactions."""
        return self._execute_all(self._client.execute_transaction, commands)

    def execute_fenced(self, name: str, token: int, commands: Sequence[Words]) -> Deferred[list[object]]:
        """See IServiceCommands."""
        if error := self._error(commands):
            return fail(error)
        return self._fenced.write(name, token, commands)

    def _execute_all(
        self, execute: Callable[[Sequence[Words]], Deferred[list[object]]], commands: Sequence[Words]
    ) -> Deferred[list[object]]:
        if error := self._error(commands):
            return fail(error)

        def strip(replies: list[object]) -> list[object]:
            return [strip_cluster_keys(command_name(words), one) for words, one in zip(commands, replies, strict=True)]

        return execute(commands).addCallback(strip)

    def _error(self, commands: Sequence[Words]) -> CommandRefusedError | None:
        for words in commands:
            reason = command_refusal_reason(words)
            if not reason and command_name(words) in SCRIPTS and (problem := self._scripts_problem()):
                reason = f'{command_name(words)} is not available to services: {problem}'
            if reason:
                return CommandRefusedError(reason)
        return None
