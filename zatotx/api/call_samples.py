"""The services zato.service.get-request-response, configure-request-response, slow-response.get-list and
slow-response.get, which return and configure recorded calls of services."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

from zatotx.api.admin_service import bad_field_error
from zatotx.api.services import ServiceAdminService
from zatotx.model.call_sample import CallSample
from zatotx.model.errors import NotFound
from zatotx.schema.snapshot import Operation
from zatotx.service.io.elements import Int, Text

MAX_FREQUENCY = 1_000_000_000


class GetRequestResponse(ServiceAdminService):
    """Return the most recent sample of a service, which consists of a request and a response in base64. The texts are
    empty if there is no sample. One in every `sample_req_resp_freq` calls is sampled; 0 disables sampling."""

    name = 'zato.service.get-request-response'

    class SimpleIO:
        input_required = (Text('name'),)
        input_optional = ('cluster_id',)

    async def handle(self) -> None:
        stored = self.by_name(str(self.request.input.name))
        sample = await self.server.call_samples.sample(stored.name)
        self.response.payload = {
            'service_id': stored.id,
            'sample_cid': '' if sample is None else sample.cid,
            'sample_req_ts': '' if sample is None else _iso(sample.started_at),
            'sample_resp_ts': '' if sample is None else _ended(sample),
            'sample_req': '' if sample is None else _base64(sample.request),
            'sample_resp': '' if sample is None else _base64(sample.response),
            'sample_req_resp_freq': stored.value.sample_req_resp_freq,
        }


class ConfigureRequestResponse(ServiceAdminService):
    """Set the frequency of samples of a service. One in every `sample_req_resp_freq` calls is sampled; 0 disables
    sampling."""

    name = 'zato.service.configure-request-response'

    class SimpleIO:
        input_required = (Text('name'), Int('sample_req_resp_freq'))
        input_optional = ('cluster_id',)

    async def handle(self) -> None:
        stored, frequency = self.by_name(str(self.request.input.name)), self.request.input.sample_req_resp_freq
        if not 0 <= frequency <= MAX_FREQUENCY:
            raise bad_field_error('sample_req_resp_freq', f'must be 0 to {MAX_FREQUENCY}')
        if frequency != stored.value.sample_req_resp_freq:
            step = Operation(action='edit', type='service', name=stored.name, id=stored.id,
                             fields={'sample_req_resp_freq': frequency})  # fmt: skip
            await self.server.config.change([step], self.actor)
        self.response.payload = {'id': stored.id, 'name': stored.name, 'sample_req_resp_freq': frequency}


class GetSlowList(ServiceAdminService):
    """List the slow responses of a service, at most 100, with the newest first."""

    name = 'zato.service.slow-response.get-list'

    class SimpleIO:
        input_required = (Text('name'),)
        input_optional = ('cluster_id',)

    async def handle(self) -> None:
        stored = self.by_name(str(self.request.input.name))
        found = await self.server.call_samples.slow(stored.name)
        self.response.payload = [_slow_row(stored.name, one) for one in found]


class GetSlow(ServiceAdminService):
    """Return a slow response of a service. The request and the response are in base64."""

    name = 'zato.service.slow-response.get'

    class SimpleIO:
        input_required = (Text('cid'), Text('name'))
        input_optional = ('cluster_id',)

    async def handle(self) -> None:
        stored, cid = self.by_name(str(self.request.input.name)), str(self.request.input.cid)
        for one in await self.server.call_samples.slow(stored.name):
            if one.cid == cid:
                row = {**_slow_row(stored.name, one), 'req': _base64(one.request), 'resp': _base64(one.response)}
                self.response.payload = {**row, 'threshold': one.threshold}
                return
        raise NotFound(self.cid, f'No slow response of {stored.name} has the cid {cid}')


def _slow_row(service: str, one: CallSample) -> dict[str, Any]:
    return {'cid': one.cid, 'req_ts': _iso(one.started_at), 'resp_ts': _ended(one), 'proc_time': one.milliseconds,
            'service_name': service, 'channel': one.channel}  # fmt: skip


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


def _ended(one: CallSample) -> str:
    return _iso(one.started_at + one.milliseconds / 1000)


def _base64(text: str) -> str:
    return b64encode(text.encode('utf-8', 'replace')).decode('ascii')


SERVICES = (GetRequestResponse, ConfigureRequestResponse, GetSlowList, GetSlow)
