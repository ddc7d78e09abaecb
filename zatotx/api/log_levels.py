"""zato.logging.*: log levels, changed while the cluster runs."""

from __future__ import annotations

from zatotx.api.base import AdminService, bad_request
from zatotx.service.io.elements import Text


class GetLevels(AdminService):
    """List the log levels of this server: each `name` is an area (kvdb, admin …) or a logger, '' the default."""

    name = 'zato.logging.get-levels'

    async def handle(self) -> None:
        self.response.payload = [
            {'name': name, 'level': level} for name, level in self.server.log_levels.shown().items()
        ]


class SetLevel(AdminService):
    """Set a log level on every server until its next restart or reload.

    `name` is an area, a logger (a service's is its name), or empty for the default level. An empty `level` resets it.
    """

    name = 'zato.logging.set-level'

    class SimpleIO:
        input_required = (Text('level'),)
        input_optional = (Text('name'),)
        output_required = ('name', 'level', 'announced')

    async def handle(self) -> None:
        name, level = str(self.request.input.name or ''), str(self.request.input.level or '').lower()
        try:
            announced = await self.server.log_levels.set(name, level)
        except ValueError as error:
            raise bad_request('level', str(error)) from None
        self.logger.info('%s set the level of %r to %r', self.actor.username, name, level)
        self.response.payload = {'name': name, 'level': level, 'announced': announced}


SERVICES = (GetLevels, SetLevel)
