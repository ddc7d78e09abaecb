"""Switches connections to a restricted Redis user, with which the commands of services are executed.

A connection authenticates as the server's own user, creates a user that cannot reach the keys of clusters or administer
the server, and then authenticates as that user: Redis itself rejects what services must not do, Lua scripts included.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from secrets import token_hex
from typing import Any

from zatotx.interfaces.redis import RedisError
from zatotx.redis.reconnecting_connection import ConnectionLog
from zatotx.rules.redis.command_table import patterns_excluding_prefix

# KEYS, INFO and RESTORE are in the category @dangerous, but harmless for this user.
_COMMAND_RULES = ('+@all', '-@admin', '-@dangerous', '+keys', '+info', '+restore')
_ATTEMPTS = 3  # another process of this server may set its password between our two commands


class RestrictedUser:
    """Switches connections to the restricted user. `is_enforced` says whether the last connection was switched."""

    def __init__(self, name: str, cluster_keys: Sequence[str], connection_log: ConnectionLog) -> None:
        """`name` of the user, the same for all processes of a server. `cluster_keys`: patterns of keys of the cluster
        that the user may access although they begin with the cluster's prefix."""
        self.is_enforced = False
        self.problem = 'there is no connection yet'  # why it is not enforced, as a clause
        self._name = name
        self._patterns = [*(f'~{one}' for one in (*patterns_excluding_prefix(), *cluster_keys)),
                          *(f'&{one}' for one in patterns_excluding_prefix())]
        self._connection_log = connection_log

    async def switch(self, protocol: Any) -> None:
        """Make a connection that of the restricted user. If Redis does not allow to create one, the connection remains
        that of the server's user, which is logged once."""
        try:
            await self._authenticate(protocol)
        except RedisError as error:
            self.is_enforced, self.problem = False, f'Redis does not let this server create a restricted user: {error}'
            self._connection_log.log_warning(
                f'{self._connection_log.server} does not let this server create the restricted user {self._name!r}, so'
                f' scripts of services are not available, and only this server checks the keys of their commands:'
                f' {error}. Grant +acl|setuser to its user.'
            )
            return
        self.is_enforced, self.problem = True, ''

    async def _authenticate(self, protocol: Any) -> None:
        password = token_hex(32)  # known to this connection alone
        digest = sha256(password.encode()).hexdigest()
        create = ('ACL', 'SETUSER', self._name, 'reset', 'on', f'#{digest}', *self._patterns, *_COMMAND_RULES)
        # Alone at first: Valkey 8.1 never replies to an AUTH that fails right behind a command that was not permitted.
        await protocol.send_command(*create)
        for _ in range(_ATTEMPTS):
            replies = await protocol.send_commands([create, ('AUTH', self._name, password)])
            errors = [reply for reply in replies if isinstance(reply, Exception)]
            if not errors:
                return
        raise errors[0]
