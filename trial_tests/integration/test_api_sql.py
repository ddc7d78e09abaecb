"""zato.outgoing.sql.* on a real ODB: Zato's names, fields and responses (feature map 8.8)."""

from __future__ import annotations

from typing import Any

from trial_tests.support.internals import InternalTestCase
from zatotx.api import builtin_service_entries
from zatotx.connectors.security_type_registry import all_object_types
from zatotx.plugins.sql.schema import OBJECT_TYPES
from zatotx.rules.enmasse.import_plan import plan_import
from zatotx.schema.type_registry import ObjectTypeRegistry

TYPES = ObjectTypeRegistry([*all_object_types([]), *OBJECT_TYPES])
CRM = {
    'cluster_id': '1', 'name': 'CRM', 'is_active': 'true', 'engine': 'postgresql', 'host': '127.0.0.1', 'port': '5432',
    'db_name': 'crm', 'username': 'u', 'pool_size': '1', 'extra': 'echo=False',
}  # fmt: skip


class SqlServicesTests(InternalTestCase):
    types = TYPES
    entries = builtin_service_entries(TYPES)

    def stored(self) -> Any:
        found = self.one.config.snapshot.find('sql', 'CRM')
        assert found is not None
        return found.value

    async def test_a_program_written_for_zato(self) -> None:
        """create, edit, change-password, get-list and delete take and give Zato's fields."""
        made = await self.call('zato.outgoing.sql.create', CRM)
        self.assertEqual((sorted(made), made['name']), (['id', 'name'], 'CRM'))
        await self.call('zato.outgoing.sql.edit', {**CRM, 'id': made['id'], 'port': '6000'})
        (row,) = await self.call('zato.outgoing.sql.get-list', {'cluster_id': 1})
        self.assertEqual(
            {name: row[name] for name in ('id', 'engine', 'host', 'port', 'db_name', 'username', 'pool_size', 'extra')},
            {'id': made['id'], 'engine': 'postgresql', 'host': '127.0.0.1', 'port': 6000, 'db_name': 'crm',
             'username': 'u', 'pool_size': 1, 'extra': 'echo=False'},
        )  # fmt: skip
        self.assertNotIn('password', row)
        await self.call('zato.outgoing.sql.change-password',
                        {'id': made['id'], 'password1': 'gehe1m', 'password2': 'gehe1m'})  # fmt: skip
        self.assertEqual(self.stored().password, 'gehe1m')
        self.assertNotIn('gehe1m', str(await self.call('zato.history.get-list', {'cluster_id': 1})))
        await self.call('zato.outgoing.sql.delete', {'id': made['id']})
        self.assertEqual(await self.call('zato.outgoing.sql.get-list', {'cluster_id': 1}), [])

    async def test_a_password_in_a_url(self) -> None:
        """It is moved to the secret by create, by edit and by an import, and is in no list and no history."""
        made = await self.call('zato.outgoing.sql.create', {'name': 'CRM', 'url': 'mysql://u:first@h/d'})
        self.assertEqual((self.stored().url, self.stored().password), ('mysql://u@h/d', 'first'))
        await self.call('zato.outgoing.sql.edit', {'id': made['id'], 'url': 'mysql://u:second@other/d'})
        self.assertEqual((self.stored().url, self.stored().password), ('mysql://u@other/d', 'second'))
        for service in ('zato.outgoing.sql.get-list', 'zato.history.get-list'):
            said = str(await self.call(service, {'cluster_id': 1}))
            self.assertNotIn('first', said)
            self.assertNotIn('second', said)
        document = {'sql': [{'name': 'CRM', 'url': 'mysql://u:third@other/d'}]}
        snapshot = self.one.config.snapshot
        plan = plan_import(document, TYPES, snapshot, replace=False, verify=lambda hashed, clear: False)
        (step,) = plan.operations
        self.assertEqual((step.action, dict(step.fields)), ('edit', {'password': 'third'}))

    async def test_all_mistakes_at_once(self) -> None:
        """All invalid fields are reported, by Zato's names."""
        told = await self.refusal('zato.outgoing.sql.create', {'name': 'x', 'engine': 'foxpro', 'port': 0}, 400)
        for part in ('$.engine: must be one of', '$.port: expected int >= 1'):
            self.assertIn(part, told)
        told = await self.refusal('zato.outgoing.sql.create', {'name': 'x', 'engine': 'mysql', 'extra': 'a=b'}, 400)
        for part in ("$.extra: line 1: there is no option 'a'", '$.db_name: missing', '$.host: missing'):
            self.assertIn(part, told)
