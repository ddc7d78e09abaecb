"""zato.* services on a real ODB: Zato's names, fields and responses (feature map 8.7, 8.8)."""

from __future__ import annotations

from typing import Any

import msgspec

from trial_tests.support.internals import CHANNEL, USER, InternalTestCase


class BasicsTests(InternalTestCase):
    async def test_ping(self) -> None:
        """zato.ping responds exactly as in Zato."""
        reply = await self.one.reply('zato.ping')
        answer = msgspec.json.decode(reply.body)
        cid = answer['zato_env'].pop('cid')
        self.assertEqual(len(cid), 24)
        self.assertEqual(
            answer, {'zato_env': {'result': 'ZATO_OK', 'details': ''}, 'zato_ping_response': {'pong': 'zato'}}
        )
        self.assertEqual(await self.call('zato.ping2'), {'pong': 'zato'})

    async def test_echo(self) -> None:
        """zato.helpers.echo responds with its payload, without an element."""
        payloads: tuple[Any, ...] = ({'a': [1, None]}, [], 'text', 5)
        for payload in payloads:
            self.assertEqual(await self.one.call('zato.helpers.echo', [payload]), [payload])

    async def test_input_logger(self) -> None:
        """zato.helpers.input-logger has an empty response."""
        self.assertEqual(await self.call('zato.helpers.input-logger', {'a': 1}), {})

    async def test_health(self) -> None:
        """live is 200; ready is 503 with the reasons if there are any; both are plain JSON."""
        self.assertEqual(await self.one.call('zato.health.live'), {'status': 'live'})
        self.assertEqual(await self.one.call('zato.health.ready'), {'status': 'ready'})
        self.one.not_ready_reasons = ['The server is draining']
        reply = await self.one.reply('zato.health.ready')
        self.assertEqual(
            (reply.status, msgspec.json.decode(reply.body)),
            (503, {'status': 'not ready', 'reasons': ['The server is draining']}),
        )

    async def test_findings(self) -> None:
        """zato.health.findings names the server and its findings."""
        self.assertEqual(await self.call('zato.health.findings'), {'server': 'one', 'findings': []})
        self.one.found = ['the ODB is unavailable: start it']
        self.assertEqual((await self.call('zato.health.findings'))['findings'], ['the ODB is unavailable: start it'])

    async def test_metrics(self) -> None:
        """zato.metrics.get returns Prometheus text."""
        reply = await self.one.reply('zato.metrics.get')
        self.assertEqual(reply.body, b'# metrics of one\n')
        self.assertEqual(reply.content_type, b'text/plain; version=0.0.4; charset=utf-8')

    async def test_info(self) -> None:
        """zato.info.* names the cluster and the server."""
        for name in ('zato.info.get-info', 'zato.info.get-server-info'):
            self.assertEqual((await self.call(name))['name'], 'one')

    async def test_names_are_texts(self) -> None:
        """A list or an object in place of a text is a mistake with its path."""
        wrong: tuple[Any, ...] = ([1], {})
        for service, field in (('service.get-by-name', 'name'), ('service.has-wsdl', 'name'),
                               ('service.set-wsdl', 'name'), ('service.get-wsdl', 'service'),
                               ('hot-deploy.get-versions', 'name'), ('history.get-list', 'name'),
                               ('history.get-list', 'type'), ('logging.set-level', 'level')):  # fmt: skip
            for value in wrong:
                said = await self.refusal(f'zato.{service}', {field: value}, 400)
                self.assertIn(f'$.{field}: expected str, got ', said, service)


class SecurityTests(InternalTestCase):
    async def test_create_answers_id_and_name(self) -> None:
        """create responds as in map 11.2; the definition is on every node, with a random password if none is given."""
        made = await self.call('zato.security.basic-auth.create', USER)
        self.assertEqual((sorted(made), made['name'], type(made['id'])), (['id', 'name'], 'crm', int))
        self.assertEqual(await self.two.config.wait_until_applied(self.one.config.snapshot.revision), [])
        self.assertEqual(self.two.config.snapshot.find('basic_auth', 'crm').value.password, '')

    async def test_text_values(self) -> None:
        """Values and ids may be text; unknown fields are ignored."""
        text = {**USER, 'is_active': 'false', 'cluster_id': 'any', 'no_such_field': 1}
        made = await self.call('zato.security.basic-auth.create', text)
        await self.call('zato.security.basic-auth.edit', {**text, 'id': str(made['id']), 'realm': 'New'})
        (row,) = await self.call('zato.security.basic-auth.get-list', {'cluster_id': '1'})
        self.assertEqual(
            row,
            {'id': made['id'], 'name': 'crm', 'is_active': False, 'roles': [], 'username': 'crm', 'realm': 'New',
             'revision': 3},
        )

    async def test_all_mistakes_at_once(self) -> None:
        """All invalid fields are reported, by Zato's names."""
        told = await self.refusal('zato.security.basic-auth.create', {'is_active': 'perhaps', 'username': 'a:b'}, 400)
        for part in ('$.name: missing', '$.is_active: expected bool', '$.username: must not have a colon'):
            self.assertIn(part, told)

    async def test_not_an_object(self) -> None:
        """A request that is not an object is 400."""
        self.assertEqual(await self.refusal('zato.security.basic-auth.create', [1], 400), '$: expected an object')

    async def test_name_taken(self) -> None:
        """A name in use is 409 naming it; names differ by case, accents and emoji."""
        await self.call('zato.security.basic-auth.create', USER)
        self.assertIn("'crm'", await self.refusal('zato.security.basic-auth.create', USER, 409))
        for name in ('CRM', 'crḿ', 'crm 😀'):
            await self.call('zato.security.basic-auth.create', {**USER, 'name': name})
        names = [row['name'] for row in await self.call('zato.security.basic-auth.get-list')]
        self.assertEqual(names, sorted(['crm', 'CRM', 'crḿ', 'crm 😀']))

    async def test_unknown_ids(self) -> None:
        """An unknown id is 404, an invalid or missing one 400."""
        for action in ('edit', 'delete', 'get-by-id', 'change-password'):
            service = f'zato.security.basic-auth.{action}'
            self.assertIn('999', await self.refusal(service, {**USER, 'id': 999}, 404))
            self.assertIn('$.id: expected int', await self.refusal(service, {**USER, 'id': 'x'}, 400))
        self.assertEqual(await self.refusal('zato.security.basic-auth.edit', USER, 400), '$.id: missing')
        self.assertEqual(await self.refusal('zato.security.basic-auth.delete', {}, 400), '$.id: missing')

    async def test_change_password(self) -> None:
        """A new password is set by id or name, given twice; it is stored hashed and never returned."""
        made = await self.call('zato.security.basic-auth.create', USER)
        service = 'zato.security.basic-auth.change-password'
        for chosen in ({'id': made['id']}, {'name': 'crm'}):
            payload = {**chosen, 'password1': 'gehe1m', 'password2': 'gehe1m'}
            self.assertEqual(await self.call(service, payload), made)
        stored = self.one.config.snapshot.find('basic_auth', 'crm').value
        self.assertTrue(stored.password.startswith('$argon2id$'))
        self.assertNotIn('password', (await self.call('zato.security.basic-auth.get-list'))[0])
        for wrong, told in (
            ({'password1': 'a', 'password2': 'b'}, '$.password2: is not the same as password1'),
            ({'password1': 'a'}, '$.password2: missing'),
            ({}, '$.password1: missing; $.password2: missing'),
        ):
            self.assertEqual(await self.refusal(service, {'id': made['id'], **wrong}, 400), told)

    async def test_references_are_no_passwords(self) -> None:
        """An unresolved reference as password is rejected without being quoted, in every service; other passwords
        may contain dollar signs."""
        for word in ('${PW}', 'Zato_Enmasse_Env.PW', 'file:/run/secrets/pw'):
            told = await self.refusal('zato.security.basic-auth.create', {**USER, 'password': word}, 400)
            self.assertIn('$.password: it is a reference, not a secret', told)
            self.assertNotIn(word, told)
        made = await self.call('zato.security.basic-auth.create', {**USER, 'password': '$PW'})
        for service, names in (('edit', ('password',)), ('change-password', ('password1', 'password2'))):
            payload = {**USER, **made, **dict.fromkeys(names, '${PW}')}
            told = await self.refusal(f'zato.security.basic-auth.{service}', payload, 400)
            self.assertIn(f'$.{names[0]}: it is a reference', told)

    async def test_password_survives_an_edit(self) -> None:
        """create accepts a password, and an edit without one keeps it."""
        made = await self.call('zato.security.basic-auth.create', {**USER, 'password': 'gehe1m'})
        before = self.one.config.snapshot.find('basic_auth', 'crm').value.password
        for kept in ({}, {'password': ''}, {'password': '******'}):
            await self.call('zato.security.basic-auth.edit', {**USER, 'id': made['id'], 'name': 'renamed', **kept})
        after = self.one.config.snapshot.find('basic_auth', 'renamed').value
        self.assertEqual((after.password, after.realm), (before, 'CRM'))

    async def test_get_one(self) -> None:
        """One object is returned by id and by name, as in the list."""
        made = await self.call('zato.security.basic-auth.create', USER)
        by_id = await self.call('zato.security.basic-auth.get-by-id', {'id': made['id']})
        self.assertEqual(by_id, await self.call('zato.security.basic-auth.get-by-name', {'name': 'crm'}))
        self.assertEqual([by_id], await self.call('zato.security.basic-auth.get-list'))
        self.assertIn("'nix'", await self.refusal('zato.security.basic-auth.get-by-name', {'name': 'nix'}, 404))

    async def test_security_list(self) -> None:
        """zato.security.get-list returns all definitions with their types, by name."""
        for name in ('b', 'a'):
            await self.call('zato.security.basic-auth.create', {**USER, 'name': name, 'username': name})
        rows = await self.call('zato.security.get-list', {'cluster_id': 1})
        self.assertEqual([(row['name'], row['sec_type'], row['username']) for row in rows],
                         [('a', 'basic_auth', 'a'), ('b', 'basic_auth', 'b')])  # fmt: skip

    async def test_history(self) -> None:
        """Changes are in the history with their author and cid."""
        await self.call('zato.security.basic-auth.create', USER)
        newest = (await self.one.odb.history(1))[0]
        self.assertEqual((newest.who, newest.action, newest.name), ('admin.invoke', 'create', 'crm'))

    async def test_delete(self) -> None:
        """delete has an empty response; deleting an object in use is 409."""
        await self.with_crm()
        made = await self.call('zato.security.basic-auth.create', USER)
        channel = await self.call('zato.http-soap.create', {**CHANNEL, 'security_id': made['id']})
        self.assertIn('crm', await self.refusal('zato.security.basic-auth.delete', {'id': made['id']}, 409))
        self.assertEqual(await self.call('zato.http-soap.delete', {'id': channel['id']}), {})
        self.assertEqual(await self.call('zato.security.basic-auth.delete', {'id': made['id']}), {})
        self.assertEqual(await self.call('zato.security.get-list'), [])


class ChannelTests(InternalTestCase):
    async def test_row(self) -> None:
        """A channel is listed with Zato's fields: references by id and name, absent texts empty."""
        await self.with_crm()
        security = await self.call('zato.security.basic-auth.create', USER)
        made = await self.call('zato.http-soap.create', {**CHANNEL, 'security_id': str(security['id'])})
        asked = {'cluster_id': 1, 'connection': 'channel', 'transport': 'plain_http'}
        rows = await self.call('zato.http-soap.get-list', asked)
        service = self.one.config.snapshot.find('service', 'crm.get-balance')
        expected = {
            'id': made['id'], 'name': 'balance', 'is_active': True, 'url_path': '/balance', 'method': '',
            'service': 'crm.get-balance', 'service_id': service.id, 'service_name': 'crm.get-balance',
            'security_id': security['id'], 'security_name': 'crm', 'sec_type': 'basic_auth', 'data_format': 'json',
            'connection': 'channel', 'transport': 'plain_http', 'soap_action': '', 'soap_version': '', 'host': '',
        }  # fmt: skip
        self.assertEqual({name: rows[0].get(name) for name in expected}, expected)

    async def test_open(self) -> None:
        """ZATO_NONE is a channel without authentication; a row can be sent back unchanged as an edit."""
        await self.with_crm()
        await self.call('zato.http-soap.create', CHANNEL)
        (row,) = await self.call('zato.http-soap.get-list')
        self.assertEqual((row['security_id'], row['security_name'], row['sec_type']), ('', '', ''))
        await self.call('zato.http-soap.edit', {**row, 'url_path': '/other'})
        edited = {**row, 'url_path': '/other', 'revision': row['revision'] + 1}
        self.assertEqual(await self.call('zato.http-soap.get-list'), [edited])
        self.assertIsNone(self.one.config.snapshot.find('channel_rest', 'balance').value.security)

    async def test_nothing_changed(self) -> None:
        """An edit that changes nothing creates no revision."""
        await self.with_crm()
        await self.call('zato.http-soap.create', CHANNEL)
        (row,) = await self.call('zato.http-soap.get-list')
        before = self.one.config.snapshot.revision
        self.assertEqual(await self.call('zato.http-soap.edit', row), {'id': row['id'], 'name': 'balance'})
        self.assertEqual(self.one.config.snapshot.revision, before)

    async def test_dangling(self) -> None:
        """References to missing objects are reported with all other mistakes, by the request's names."""
        wrong = {**CHANNEL, 'service': 'no.such', 'security_id': 77, 'url_path': 'relative'}
        told = await self.refusal('zato.http-soap.create', wrong, 400)
        for part in ("$.service: there is no service called 'no.such'", '$.security_id: ', '$.url_path: '):
            self.assertIn(part, told)

    async def test_security_that_does_not_fit(self) -> None:
        """A definition for outgoing authentication on a channel is a mistake, by the request's name."""
        await self.with_crm()
        made = await self.call('zato.security.digest-auth.create', {'name': 'ours', 'username': 'us'})
        told = await self.refusal('zato.http-soap.create', {**CHANNEL, 'security_id': made['id']}, 400)
        self.assertIn("$.security_id: 'ours' is of type digest_auth, and only apikey, basic_auth, ", told)

    async def test_fixed_fields(self) -> None:
        """Lists of unsupported kinds are empty; creating one is 400 naming the field."""
        outgoing = {'connection': 'outgoing', 'transport': 'soap'}
        self.assertEqual(await self.call('zato.http-soap.get-list', outgoing), [])
        told = await self.refusal('zato.http-soap.create', {**CHANNEL, 'connection': 'nix'}, 400)
        self.assertEqual(told, '$.connection: must be one of: channel, outgoing')

    async def test_path_taken(self) -> None:
        """Two channels with the same method and path are a conflict: 409."""
        await self.with_crm()
        await self.call('zato.http-soap.create', CHANNEL)
        told = await self.refusal('zato.http-soap.create', {**CHANNEL, 'name': 'other'}, 409)
        self.assertIn("'balance' has it", told)


class ServerTests(InternalTestCase):
    async def test_rows(self) -> None:
        """Servers are listed by name, and returned by id."""
        rows = await self.call('zato.server.get-list')
        self.assertEqual([(row['name'], row['up_status'], row['bind_port']) for row in rows],
                         [('one', 'running', 17010), ('two', 'running', 17010)])  # fmt: skip
        found = await self.call('zato.server.get-by-id', {'id': rows[1]['id']})
        self.assertEqual((found['id'], found['name']), (rows[1]['id'], 'two'))
        self.assertIn('99', await self.refusal('zato.server.get-by-id', {'id': 99}, 404))

    async def test_edit_and_delete(self) -> None:
        """A running server cannot be deleted, a stopped one can; the name of the latter is in its settings only."""
        down = (await self.one.odb.register_node('three', '', 0, 1)).id
        self.assertEqual((await self.call('zato.server.edit', {'id': down, 'name': 'three'}))['name'], 'three')
        self.assertIn('stop it first', await self.refusal('zato.server.delete', {'id': down}, 409))
        await self.one.odb.mark_node_stopped(down)
        self.assertIn('server.toml', await self.refusal('zato.server.edit', {'id': down, 'name': 'new'}, 409))
        self.assertEqual(await self.call('zato.server.delete', {'id': down}), {})
        self.assertEqual([row['name'] for row in await self.call('zato.server.get-list')], ['one', 'two'])
