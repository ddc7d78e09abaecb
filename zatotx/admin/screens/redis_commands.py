"""The screen for executing Redis commands."""

from __future__ import annotations

from zatotx.admin.application import ScreenRoute
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.page_request import PageRequest
from zatotx.admin.rendering import as_json
from zatotx.admin.responses import Page, Response
from zatotx.admin.screens.objects import IN_PLACE
from zatotx.rules.redis.remote_command import REMOTE_COMMANDS

EXAMPLES = ('keys *', 'set my-key "a value"', 'get my-key', 'hgetall my-hash', 'lrange my-list 0 -1', 'ttl my-key')


DESTROYING = frozenset({'DEL', 'EXPIRE', 'EXPIREAT', 'HDEL', 'LPOP', 'LREM', 'LTRIM', 'PEXPIRE', 'PEXPIREAT', 'RENAME',
                        'RPOP', 'SREM', 'ZREM'})  # fmt: skip


async def show(request: PageRequest) -> Response:
    """Show the form for a Redis command."""
    return _page()


async def execute(request: PageRequest) -> Response:
    """Execute a Redis command and show its result."""
    command = request.text('command')
    word = (command.split() or [''])[0].upper()
    if word in DESTROYING and request.text('confirmed') != command:
        return _page(command, is_asked=True)
    try:
        done = await request.call('zato.kvdb.remote-command.execute', {'command': command})
    except ApiError as error:
        if error.status not in IN_PLACE:
            raise
        messages = [*error.messages, *error.field_errors.values()]
        return _page(command, messages=messages, status=error.status)
    result = done['result']
    return _page(command, result=result if isinstance(result, str) else as_json(result))


def _page(command: str = '', *, status: int = 200, **more: object) -> Page:
    values = {'title': 'Remote commands', 'command': command, 'result': None, 'messages': [], 'is_asked': False,
              'examples': EXAMPLES, 'commands': sorted(REMOTE_COMMANDS), **more}  # fmt: skip
    return Page('redis_commands.html', values, status)


ROUTES = (
    ScreenRoute('GET', '/key-value/commands', show),
    ScreenRoute('POST', '/key-value/commands', execute),
)
