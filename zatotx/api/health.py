"""The status services: zato.ping, zato.helpers.*, zato.health.*, zato.metrics.get and zato.info.*."""

from __future__ import annotations

from zatotx.api.admin_service import AdminService
from zatotx.model.errors import ServiceError


class Ping(AdminService):
    """Return a fixed response, to check that the server is running."""

    name = 'zato.ping'

    class SimpleIO:
        output_required = ('pong',)

    async def handle(self) -> None:
        self.response.payload = {'pong': 'zato'}


class Ping2(Ping):
    """The same service as zato.ping, under Zato's second name."""

    name = 'zato.ping2'

    class SimpleIO:
        output_required = ('pong',)


class Echo(AdminService):
    """Return the payload of the request."""

    name = 'zato.helpers.echo'
    plain = True

    async def handle(self) -> None:
        self.response.payload = '' if self.request.payload is None else self.request.payload


class InputLogger(AdminService):
    """Write the input to the log."""

    name = 'zato.helpers.input-logger'

    async def handle(self) -> None:
        self.log_input('')
        self.response.payload = {}


class CheckLiveness(AdminService):
    """Liveness check: respond with status 200 as long as the process runs."""

    name = 'zato.health.live'
    plain = True

    async def handle(self) -> None:
        self.response.payload = {'status': 'live'}


class CheckReadiness(AdminService):
    """Readiness check: respond with status 200 if the server accepts requests, otherwise with 503 and the reasons."""

    name = 'zato.health.ready'
    plain = True

    async def handle(self) -> None:
        reasons = self.server.readiness_problems()
        if reasons:
            self.response.status_code = 503
            self.response.headers['Retry-After'] = '1'
            self.response.payload = {'status': 'not ready', 'reasons': reasons}
        else:
            self.response.payload = {'status': 'ready'}


class ListFindings(AdminService):
    """List the problems that the server has detected in any of its workers, such as stuck threads, reactor stalls and
    outages."""

    name = 'zato.health.findings'

    async def handle(self) -> None:
        self.response.payload = {'server': self.server.name, 'findings': await self.server.all_findings()}


class GetMetrics(AdminService):
    """Return the metrics of this server in the Prometheus text format."""

    name = 'zato.metrics.get'
    plain = True

    async def handle(self) -> None:
        self.response.payload = await self.server.metrics()
        self.response.content_type = 'text/plain; version=0.0.4; charset=utf-8'


class GetInfo(AdminService):
    """Return information about the cluster, and about the server that processes the request."""

    name = 'zato.info.get-info'

    async def handle(self) -> None:
        facts = dict(self.server.info())
        facts['cluster'] = {**facts['cluster'], 'leader': await self._leader()}
        self.response.payload = facts

    async def _leader(self) -> str | None:
        """Return the name of the server that leads the scheduler; None if there is none or the ODB is unavailable."""
        try:
            record = await self.server.scheduler.leader()
        except ServiceError:
            return None
        return record.node or None


class GetServerInfo(GetInfo):
    """The same service as zato.info.get-info, under Zato's other name."""

    name = 'zato.info.get-server-info'


SERVICES = (
    Ping,
    Ping2,
    Echo,
    InputLogger,
    CheckLiveness,
    CheckReadiness,
    ListFindings,
    GetMetrics,
    GetInfo,
    GetServerInfo,
)
