"""The screen for executing Redis commands."""

from __future__ import annotations

from zatotx.admin.application import ScreenRoute
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.page_request import PageRequest
from zatotx.admin.responses import Page, Response
from zatotx.admin.screens.objects import IN_PLACE

EXAMPLES = ('keys *', 'set my-key "a value"', 'get my-key', 'hgetall my-hash', 'lrange my-list 0 -1', 'ttl my-key')


async def show(request: PageRequest) -> Response:
    """Show the form for a Redis command."""
    return _page()


async def execute(request: PageRequest) -> Response:
    """Execute a Redis command and show its result."""
    command = request.text('command')
    try:
        done = await request.call('zato.kvdb.remote-command.execute', {'command': command})
    except ApiError as error:
        if error.status not in IN_PLACE:
            raise
        return _page(command, error=str(error), status=error.status)
    return _page(command, result=done['result'])


def _page(command: str = '', *, result: str | None = None, error: str = '', status: int = 200) -> Page:
    values = {'title': 'Remote commands', 'command': command, 'result': result, 'error': error, 'examples': EXAMPLES}
    return Page('redis_commands.html', values, status)


ROUTES = (
    ScreenRoute('GET', '/key-value/commands', show),
    ScreenRoute('POST', '/key-value/commands', execute),
)
