"""Two nodes with all internal services, for the tests of those."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.trial.unittest import TestCase

from zatotx.api import builtin_service_entries
from zatotx.connectors.security_type_registry import all_object_types
from zatotx.model.message import Reply
from zatotx.plugins.http.schema import OBJECT_TYPES
from zatotx.schema.snapshot import Actor
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.testing.memory_node import MemoryNode, MemoryPubSub, create_test_odb

TYPES = ObjectTypeRegistry([*all_object_types([]), *OBJECT_TYPES])
ENTRIES = builtin_service_entries(TYPES)
CRM = b"""
from zato.server.service import Service

class GetBalance(Service):
    name = 'crm.get-balance'

    class SimpleIO:
        input_required = ('account_id',)
        output_required = ('balance',)

    def handle(self):
        self.response.payload.balance = self.request.input.account_id * 2
"""
USER = {'cluster_id': 1, 'name': 'crm', 'is_active': True, 'username': 'crm', 'realm': 'CRM'}
CHANNEL = {
    'cluster_id': '1', 'name': 'balance', 'is_active': 'true', 'connection': 'channel', 'transport': 'plain_http',
    'is_internal': 'false', 'url_path': '/balance', 'service': 'crm.get-balance', 'security_id': 'ZATO_NONE',
    'method': '', 'soap_action': '', 'soap_version': '', 'data_format': 'json', 'host': '',
}  # fmt: skip


class InternalTestCase(TestCase):
    """Two nodes; requests go to the first."""

    types = TYPES
    entries = ENTRIES

    def setUp(self) -> Deferred[Any]:  # type: ignore[override]  # trial waits for it
        from twisted.internet import reactor

        place = Path(self.mktemp()).resolve()
        place.mkdir()
        parts = {'types': self.types, 'bus': MemoryPubSub(), 'internal': self.entries}
        url = create_test_odb(place, self.types)
        self.one, self.two = (MemoryNode(reactor, name, place, url, **parts) for name in ('one', 'two'))
        self.addCleanup(lambda: ensureDeferred(self.one.stop()))
        self.addCleanup(lambda: ensureDeferred(self.two.stop()))
        return gatherResults([ensureDeferred(node.start()) for node in (self.one, self.two)])

    async def call(self, service: str, payload: Any = None) -> Any:
        """What stands in the response element."""
        answer = await self.one.call(service, payload)
        self.assertEqual(answer['zato_env']['result'], 'ZATO_OK')
        return answer[service.replace('.', '_').replace('-', '_') + '_response']

    async def refusal(self, service: str, payload: Any, status: int) -> str:
        """The details of an error with that status."""
        reply: Reply = await self.one.reply(service, payload)
        self.assertEqual(reply.status, status, reply.body)
        details: str = msgspec.json.decode(reply.body)['zato_env']['details']
        return details

    async def with_crm(self) -> None:
        await self.one.deployer.deploy('crm.py', CRM, Actor('tester'))
