"""zato.ping, zato.helpers.*, zato.health.*, zato.metrics.get, zato.info.*: what a server says of itself."""

from __future__ import annotations

from zatotx.api.base import AdminService


class Ping(AdminService):
    """Answers that the server is there."""

    name = 'zato.ping'

    class SimpleIO:
        output_required = ('pong',)

    async def handle(self) -> None:
        self.response.payload = {'pong': 'zato'}


class Ping2(Ping):
    """Zato's second ping."""

    name = 'zato.ping2'

    class SimpleIO:
        output_required = ('pong',)


class Echo(AdminService):
    """Answers what it was sent."""

    name = 'zato.helpers.echo'
    plain = True

    async def handle(self) -> None:
        self.response.payload = '' if self.request.payload is None else self.request.payload


class InputLogger(AdminService):
    """Logs what it was sent."""

    name = 'zato.helpers.input-logger'

    async def handle(self) -> None:
        self.log_input('')
        self.response.payload = {}


class Live(AdminService):
    """200 as long as the process turns."""

    name = 'zato.health.live'
    plain = True

    async def handle(self) -> None:
        self.response.payload = {'status': 'live'}


class Ready(AdminService):
    """200 when the server takes requests, else 503 with the reasons."""

    name = 'zato.health.ready'
    plain = True

    async def handle(self) -> None:
        reasons = self.server.not_ready()
        if reasons:
            self.response.status_code = 503
            self.response.headers['Retry-After'] = '1'
            self.response.payload = {'status': 'not ready', 'reasons': reasons}
        else:
            self.response.payload = {'status': 'ready'}


class Findings(AdminService):
    """What this server finds not to be as it should be in itself, in any of its workers: stuck threads, stalls, a part
    that is away."""

    name = 'zato.health.findings'

    async def handle(self) -> None:
        self.response.payload = {'server': self.server.name, 'findings': await self.server.all_findings()}


class Metrics(AdminService):
    """The metrics of this server, in Prometheus' text form."""

    name = 'zato.metrics.get'
    plain = True

    async def handle(self) -> None:
        self.response.payload = await self.server.metrics()
        self.response.content_type = 'text/plain; version=0.0.4; charset=utf-8'


class GetInfo(AdminService):
    """Facts about the cluster and the server that was asked."""

    name = 'zato.info.get-info'

    async def handle(self) -> None:
        self.response.payload = dict(self.server.info())


class GetServerInfo(GetInfo):
    """The same under Zato's second name."""

    name = 'zato.info.get-server-info'


SERVICES = (Ping, Ping2, Echo, InputLogger, Live, Ready, Findings, Metrics, GetInfo, GetServerInfo)
