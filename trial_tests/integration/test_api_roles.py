"""Roles: who may call which built-in services, and that nobody can grant roles they do not have."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.internals import CHANNEL, ENTRIES, USER, InternalTestCase
from zatotx.connectors.kind_registry import find_kinds, service_name_prefixes
from zatotx.model.cid import new_cid
from zatotx.model.message import ChannelSpec, Message, Principal, Reply
from zatotx.rules.security.roles import (
    ADMIN,
    API,
    MONITOR,
    OPERATOR,
    VIEWER,
    effective_roles,
    required_roles,
    ungrantable_roles,
)
from zatotx.schema.snapshot import Actor

JSON_DOOR = ChannelSpec(name='zato.json', kind='http-soap', service='', data_format='json', is_builtin_endpoint=True)
INVOKING = b'''
from zatotx import Service

class Makes(Service):
    name = 'roles.makes'

    async def handle(self):
        payload = {'name': 'by-code', 'username': 'x', 'roles': ['admin']}
        self.response.payload = await self.invoke('zato.security.basic-auth.create', payload)
'''


def of_internal(service: str) -> frozenset[str]:
    return required_roles(service, is_internal=True, kind_areas=service_name_prefixes(find_kinds()))


class RuleTests(SynchronousTestCase):
    def test_what_the_public_api_has(self) -> None:
        """The public API role covers Zato's documented services, except those for history, logs, Redis or the whole
        configuration."""
        for service in ('zato.security.basic-auth.create', 'zato.http-soap.get-list', 'zato.scheduler.job.execute',
                        'zato.kvdb.data-dict.dictionary.create', 'zato.service.upload-package',
                        'zato.outgoing.sql.ping',
                        'zato.service.slow-response.get', 'zato.stats.trends.get-trends', 'zato.server.edit'):
            self.assertEqual(of_internal(service) - {OPERATOR, VIEWER}, {ADMIN, API}, service)
        for service in ('zato.history.restore', 'zato.history.get-list', 'zato.logging.set-level',
                        'zato.enmasse.import', 'zato.enmasse.export',
                        'zato.kvdb.remote-command.execute', 'zato.crypto.rotate-key',
                        'zato.service.rollback', 'zato.groups.create', 'zato.anything.else'):
            self.assertEqual(of_internal(service) - {OPERATOR, VIEWER}, {ADMIN}, service)

    def test_what_monitoring_has(self) -> None:
        """The monitoring role covers the state of the cluster and no changes."""
        found = {entry.name for entry in ENTRIES if MONITOR in of_internal(entry.name)}
        self.assertEqual(found, {'zato.metrics.get', 'zato.health.findings', 'zato.info.get-info',
                                 'zato.info.get-server-info', 'zato.server.get-list'})

    def test_what_is_anybodys(self) -> None:
        """Pings, echoes and the documentation page need no role."""
        found = {entry.name for entry in ENTRIES if not of_internal(entry.name)}
        self.assertEqual(found, {'zato.ping', 'zato.ping2', 'zato.health.live', 'zato.health.ready', 'zato.docs.get',
                                 'zato.admin.login', 'zato.helpers.echo', 'zato.helpers.input-logger'})

    def test_what_users_of_the_web_admin_have(self) -> None:
        """Viewers read, without secrets; operators also run things; only administrators change the configuration."""
        for service in ('zato.http-soap.get-list', 'zato.security.basic-auth.get-by-id', 'zato.history.get-list',
                        'zato.schema.get-list', 'zato.service.get-source-info', 'zato.dead-letter.get',
                        'zato.admin.logout', 'zato.health.findings'):
            self.assertLessEqual({ADMIN, OPERATOR, VIEWER}, of_internal(service), service)
        for service in ('zato.service.invoke', 'zato.outgoing.sql.ping', 'zato.dead-letter.replay',
                        'zato.scheduler.job.execute'):
            self.assertEqual(of_internal(service) & {ADMIN, OPERATOR, VIEWER}, {ADMIN, OPERATOR}, service)
        changing = [entry.name for entry in ENTRIES if entry.name.rpartition('.')[2] in (
            'create', 'edit', 'delete', 'change-password', 'import', 'export', 'restore', 'rollback', 'upload-package',
            'set-level', 'set-wsdl', 'execute')]
        self.assertGreater(len(changing), 30)
        for service in changing:
            if service not in ('zato.dead-letter.edit', 'zato.scheduler.job.execute'):
                self.assertFalse(of_internal(service) & {OPERATOR, VIEWER}, service)

    def test_services_of_users(self) -> None:
        """Users' services require the configured roles; administrators may call all."""
        self.assertEqual(required_roles('crm', is_internal=False), frozenset())
        self.assertEqual(required_roles('crm', is_internal=False, configured=['billing']), {'billing', ADMIN})
        self.assertEqual(required_roles('zato.ping', is_internal=True, configured=['x']), {'x', ADMIN})

    def test_the_brokers_own_definitions(self) -> None:
        """The broker's own definitions have their roles by name, whatever is configured; definitions of another type
        with that name do not."""
        self.assertEqual(effective_roles('basic_auth', 'admin.invoke', []), {ADMIN})
        self.assertEqual(effective_roles('basic_auth', 'pubapi', ['x']), {API, 'x'})
        self.assertEqual(effective_roles('apikey', 'admin.invoke', []), frozenset())
        self.assertEqual(effective_roles('basic_auth', 'Pubapi', ['x']), {'x'})

    def test_what_is_not_mine_to_give(self) -> None:
        """Only administrators may grant roles that they do not have."""
        self.assertEqual(ungrantable_roles(frozenset({API}), [API, MONITOR]), {MONITOR})
        self.assertEqual(ungrantable_roles(frozenset({ADMIN}), ['anything']), frozenset())


class InternalTests(InternalTestCase):
    """Requests by callers with certain roles."""

    async def answer(self, service: str, payload: Any, roles: set[str], *, channel: ChannelSpec = JSON_DOOR) -> Reply:
        inbound = Message(new_cid(), channel, service, {}, msgspec.json.encode(payload),
                          self.one.reactor.seconds() + 30.0)
        inbound.principal = Principal('someone', 'someone', 'basic_auth', roles=frozenset(roles))
        return await self.one.pipeline.serve(inbound)

    async def status(self, service: str, payload: Any, *roles: str) -> int:
        return (await self.answer(service, payload, set(roles))).status

    async def test_who_reaches_what(self) -> None:
        """Access depends on the roles of the caller's definition, also on users' channels."""
        revision = {'revision': 1, 'dry_run': True}
        for service, payload, roles, expected in (
            ('zato.service.get-list', {}, (API,), 200), ('zato.service.get-list', {}, (), 403),
            ('zato.history.restore', revision, (API,), 403), ('zato.history.restore', revision, (ADMIN,), 200),
            ('zato.health.findings', {}, (MONITOR,), 200), ('zato.health.findings', {}, ('x',), 403),
            ('zato.ping', {}, (), 200),
        ):
            self.assertEqual(await self.status(service, payload, *roles), expected, (service, roles))
        user_channel = ChannelSpec(name='mine', kind='http-soap', service='zato.enmasse.export', data_format='json')
        self.assertEqual((await self.answer('zato.enmasse.export', {}, {API}, channel=user_channel)).status, 403)

    async def test_zato_service_invoke_is_no_way_round(self) -> None:
        """zato.service.invoke invokes only what the caller may call directly."""
        def invoking(name: str) -> dict[str, str]:
            return {'name': name, 'payload': b64encode(b'{}').decode()}

        self.assertEqual(await self.status('zato.service.invoke', invoking('zato.enmasse.export'), API), 403)
        self.assertEqual(await self.status('zato.service.invoke', invoking('zato.enmasse.export'), ADMIN), 200)
        self.assertEqual(await self.status('zato.service.invoke', invoking('zato.service.get-list'), API), 200)
        inner = {'name': 'zato.service.invoke', 'payload': b64encode(
            msgspec.json.encode(invoking('zato.enmasse.export'))).decode()}
        self.assertNotEqual(await self.status('zato.service.invoke', inner, API), 200)

    async def test_roles_are_given_by_those_who_have_them(self) -> None:
        """Callers can neither create definitions with more roles than they have, nor take over existing ones."""
        create, edit = 'zato.security.basic-auth.create', 'zato.security.basic-auth.edit'
        refused = await self.answer(create, {**USER, 'roles': ['admin']}, {API})
        self.assertEqual(refused.status, 403)
        self.assertIn(b'you lack admin', refused.body)
        self.assertEqual(await self.status(create, {**USER, 'roles': ['api']}, API), 200)
        made = await self.call(create, {**USER, 'name': 'boss', 'roles': 'admin, billing'})
        for service, payload in (
            (edit, {'id': made['id'], 'roles': []}), (edit, {'id': made['id'], 'is_active': False}),
            ('zato.security.basic-auth.change-password', {'id': made['id'], 'password1': 'x', 'password2': 'x'}),
            ('zato.security.basic-auth.delete', {'id': made['id']}),
            (create, {**USER, 'name': 'admin.invoke'}),
        ):
            self.assertEqual(await self.status(service, payload, API), 403, service)
        mine = self.one.config.snapshot.find('basic_auth', 'crm')
        self.assertEqual(await self.status(edit, {'id': mine.id, 'name': 'admin.invoke'}, API), 403)
        self.assertEqual(await self.status(edit, {'id': mine.id, 'realm': 'X', 'roles': ['api']}, API), 200)
        self.assertEqual(await self.status(edit, {'id': made['id'], 'roles': []}, ADMIN), 200)

    async def test_code_of_users_is_the_brokers(self) -> None:
        """A user's service that provisions users may do so for all of its callers."""
        await self.one.deployer.deploy('roles.py', INVOKING, Actor('tester'))
        self.assertEqual(await self.status('roles.makes', {}), 200)
        self.assertEqual(self.one.config.snapshot.find('basic_auth', 'by-code').value.roles, ['admin'])

    async def test_a_service_that_demands_roles(self) -> None:
        """Required roles apply on every channel at once; a caller without a role cannot remove the requirement."""
        await self.with_crm()
        service = await self.call('zato.service.get-by-name', {'name': 'crm.get-balance'})
        self.assertEqual((await self.status('crm.get-balance', {'account_id': 1}), service['roles']), (200, []))
        edited = await self.call('zato.service.edit', {'id': service['id'], 'roles': ['billing']})
        self.assertEqual(edited['roles'], ['billing'])
        for roles, expected in ((('billing',), 200), ((ADMIN,), 200), ((API,), 403), ((), 403)):
            self.assertEqual(await self.status('crm.get-balance', {'account_id': 1}, *roles), expected)
        self.assertEqual(await self.status('zato.service.edit', {'id': service['id'], 'roles': []}, API), 403)

    async def test_a_channel_that_demands_roles_of_nobody(self) -> None:
        """Requiring roles on a channel without authentication is a mistake."""
        told = await self.refusal('zato.http-soap.create', {**CHANNEL, 'service': 'zato.ping', 'roles': ['x']}, 400)
        self.assertIn('$.roles: needs security or groups', told)
