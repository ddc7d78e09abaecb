"""The service zato.kvdb.remote-command.execute, with which administrators execute a Redis command."""

from __future__ import annotations

from zatotx.api.admin_service import AdminService
from zatotx.interfaces.redis import RedisError
from zatotx.model.errors import BadRequest
from zatotx.rules.redis.remote_command import format_redis_reply, parse_redis_command
from zatotx.service.io.elements import Text


class ExecuteRedisCommand(AdminService):
    """Execute one of the Redis commands that Zato supports, such as `set key "a value"`. The response `(None)` means
    that there is no result.

    Keys of the cluster are not accessible.
    """

    name = 'zato.kvdb.remote-command.execute'

    class SimpleIO:
        input_required = (Text('command'),)

    async def handle(self) -> None:
        words = parse_redis_command(str(self.request.input.command))
        try:
            reply = await self.server.service_redis.commands.execute(words[0], *words[1:])
        except RedisError as error:
            raise BadRequest(self.cid, str(error)) from None
        self.logger.info('%s executed %s', self.actor.username, words[0])
        self.response.payload = {'result': format_redis_reply(words, reply)}


SERVICES = (ExecuteRedisCommand,)
