"""zato.service.*, zato.hot-deploy.*, zato.enmasse.*: services, their code, and the whole configuration."""

from __future__ import annotations

from base64 import b64decode, b64encode
from hashlib import sha256
from typing import Any

import msgspec
import yaml

from trial_tests.support.internals import CHANNEL, CRM, ENTRIES, InternalTestCase
from zatotx.schema.snapshot import Actor, Operation
from zatotx.service.deployment.source_package import create_zip

PLAIN = b'''
from zatotx import Service

class Plain(Service):
    """ Says nothing. """
    name = 'plain.one'

    def handle(self):
        pass
'''


class ServiceTests(InternalTestCase):
    async def crm(self) -> dict[str, Any]:
        await self.with_crm()
        row: dict[str, Any] = await self.call('zato.service.get-by-name', {'cluster_id': 1, 'name': 'crm.get-balance'})
        return row

    async def rows_of_internal(self) -> None:
        """Return the rows that a starting node stores."""
        entries = [e for e in self.one.services.current if e.is_internal]
        steps = [
            Operation(action='create', type='service', name=e.name, fields={'name': e.name, 'is_internal': True})
            for e in entries
        ]
        await self.one.config.change(steps, Actor('test'))

    async def test_list(self) -> None:
        """`*`, '' and no filter list all services by name; each word of a filter must be part of the name."""
        await self.with_crm()
        await self.rows_of_internal()
        rows = await self.call('zato.service.get-list', {'cluster_id': 1, 'name_filter': '*'})
        everything = [row['name'] for row in rows]
        self.assertEqual(everything, sorted(everything))
        self.assertIn('crm.get-balance', everything)
        self.assertEqual(len(everything), len(ENTRIES) + 1)
        filters = {'balance CRM': ['crm.get-balance'], 'crm ping': [], 'zato.ping2': ['zato.ping2']}
        for name_filter, expected in filters.items():
            rows = await self.call('zato.service.get-list', {'name_filter': name_filter})
            self.assertEqual([row['name'] for row in rows], expected)
        for payload in ({}, {'name_filter': ''}):
            self.assertEqual(len(await self.call('zato.service.get-list', payload)), len(everything))

    async def test_row(self) -> None:
        """A row describes a service and the code that it runs."""
        row = await self.crm()
        expected = {
            'name': 'crm.get-balance', 'is_active': True, 'impl_name': 'crm.GetBalance', 'is_internal': False,
            'slow_threshold': 99999, 'file': 'crm.py', 'version': 1, 'usage': 0, 'may_be_deleted': False,
            'max_in_flight': '', 'roles': [], 'revision': self.one.config.snapshot.revision,
        }  # fmt: skip
        self.assertEqual({**row, 'id': None}, {**expected, 'id': None})
        self.assertEqual(row, await self.call('zato.service.get-by-id', {'id': row['id']}))
        self.assertIn("'nix'", await self.refusal('zato.service.get-by-name', {'name': 'nix'}, 404))

    async def test_input_output(self) -> None:
        """The declared input and output are described as JSON Schemas, with an example; a service that declares none
        has none."""
        await self.with_crm()
        found = await self.call('zato.service.get-input-output', {'name': 'crm.get-balance'})
        schema = found['components']['crm.get-balance.input']
        self.assertEqual(found['input'], {'$ref': '#/components/schemas/crm.get-balance.input'})
        self.assertEqual((schema['required'], list(schema['properties'])), (['account_id'], ['account_id']))
        self.assertEqual(list(found['example']), ['account_id'])
        self.assertIn('crm.get-balance.output', found['components'])
        await self.one.deployer.deploy('plain.py', PLAIN, Actor('tester'))
        found = await self.call('zato.service.get-input-output', {'name': 'plain.one'})
        self.assertEqual((found['description'], found['input'], found['output']), ('Says nothing.', None, None))
        self.assertIn("'nix'", await self.refusal('zato.service.get-input-output', {'name': 'nix'}, 404))

    async def test_edit(self) -> None:
        """Deactivating a service takes effect at once; built-in ones cannot be deactivated; omitted fields are not
        changed."""
        row = await self.crm()
        changed = await self.call('zato.service.edit', {'id': row['id'], 'is_active': 'false', 'slow_threshold': '10'})
        edited = {**row, 'is_active': False, 'slow_threshold': 10, 'revision': row['revision'] + 1}
        self.assertEqual(changed, edited)
        self.assertEqual((await self.one.reply('crm.get-balance', {'account_id': 1})).status, 404)
        again = await self.call('zato.service.edit', {'id': row['id'], 'is_active': True})
        self.assertEqual(again, {**row, 'slow_threshold': 10, 'revision': row['revision'] + 2})
        self.assertEqual(await self.one.call('crm.get-balance', {'account_id': 1}), {'response': {'balance': 2}})
        await self.rows_of_internal()
        ping = await self.call('zato.service.get-by-name', {'name': 'zato.ping'})
        told = await self.refusal('zato.service.edit', {**ping, 'is_active': False}, 409)
        self.assertIn('cannot be switched off', told)

    async def test_limit(self) -> None:
        """The concurrency limit is live on every node, survives new versions, and '' resets it to server.toml. All
        mistakes are reported."""
        row = await self.crm()

        async def limits() -> list[int]:
            await self.one.config.wait_until_applied(
                self.one.config.snapshot.revision
            )  # the other one hears of it by the bus
            entries = [node.services.current.get('crm.get-balance') for node in (self.one, self.two)]
            return [entry.concurrency_limit.limit for entry in entries if entry is not None]

        edit = {'id': row['id'], 'max_in_flight': '7'}
        edited = {**row, 'max_in_flight': 7, 'revision': row['revision'] + 1}
        self.assertEqual(await self.call('zato.service.edit', edit), edited)
        self.assertEqual(await limits(), [7, 7])
        await self.one.deployer.deploy('crm.py', CRM + b'# newer', Actor('tester'))
        self.assertEqual(await limits(), [7, 7])
        for wrong in ('0', '4001', 'many', -1):
            told = await self.refusal('zato.service.edit', {**edit, 'max_in_flight': wrong, 'slow_threshold': 'x'}, 400)
            self.assertIn('max_in_flight', told)
            self.assertIn('slow_threshold', told)
        await self.call('zato.service.edit', {**edit, 'max_in_flight': ''})
        self.assertEqual(await limits(), [1000, 1000])

    async def test_limit_of_a_channel(self) -> None:
        """Channels have their own limit, and a queue only together with one; forms send them as text."""
        await self.with_crm()
        fields = {'max_in_flight': '5', 'queue': '10', 'queue_timeout': '2.5'}
        await self.call('zato.http-soap.create', {**CHANNEL, **fields})
        (found,) = await self.call('zato.http-soap.get-list', {'connection': 'channel', 'transport': 'plain_http'})
        self.assertEqual([found[name] for name in fields], [5, 10, 2.5])
        told = await self.refusal('zato.http-soap.edit', {**found, 'max_in_flight': ''}, 400)
        self.assertIn('queue: needs max_in_flight', told)

    async def test_delete(self) -> None:
        """Only a service that is not deployed can be deleted; otherwise the error gives the reason."""
        row = await self.crm()
        self.assertIn('is in crm.py', await self.refusal('zato.service.delete', {'id': row['id']}, 409))
        await self.one.deployer.deploy('crm.py', CRM.replace(b'crm.get-balance', b'crm.other'), Actor('tester'))
        self.assertTrue((await self.call('zato.service.get-by-name', {'name': 'crm.get-balance'}))['may_be_deleted'])
        self.assertEqual(await self.call('zato.service.delete', {'id': row['id']}), {})
        await self.refusal('zato.service.get-by-name', {'name': 'crm.get-balance'}, 404)
        await self.rows_of_internal()
        ping = await self.call('zato.service.get-by-name', {'name': 'zato.ping'})
        self.assertIn('cannot be deleted', await self.refusal('zato.service.delete', {'id': ping['id']}, 409))

    async def test_channels(self) -> None:
        """The channels of a service are listed, all or of one type."""
        row = await self.crm()
        await self.call('zato.http-soap.create', CHANNEL)
        for channel_type, names in (('plain_http', ['balance']), ('', ['balance']), ('soap', []), ('amqp', [])):
            found = await self.call('zato.service.get-channel-list', {'id': row['id'], 'channel_type': channel_type})
            self.assertEqual([one['name'] for one in found], names)

    async def test_source(self) -> None:
        """The source of a service is returned with its hash."""
        row = await self.crm()
        found = await self.call('zato.service.get-source-info', {'cluster_id': 1, 'name': 'crm.get-balance'})
        self.assertEqual(b64decode(found['source']), CRM)
        self.assertEqual((found['service_id'], found['server_name']), (row['id'], 'one'))
        self.assertEqual((found['source_hash_method'], found['source_hash']), ('SHA-256', sha256(CRM).hexdigest()))
        self.assertTrue(found['source_path'].endswith('/crm.py'))

    async def test_deployment_info(self) -> None:
        """The servers that run a service are listed, with details as JSON text."""
        row = await self.crm()
        found = await self.call('zato.service.get-deployment-info-list', {'id': row['id']})
        self.assertEqual([one['server_name'] for one in found], ['one', 'two'])
        details = msgspec.json.decode(found[0]['details'])
        self.assertEqual((details['file'], details['version'], details['refused']), ('crm.py', 1, ''))


class CodeTests(InternalTestCase):
    async def upload(self, content: bytes, name: str = 'crm.py') -> Any:
        payload = {'cluster_id': 1, 'payload': b64encode(content).decode(), 'payload_name': name}
        return await self.call('zato.service.upload-package', payload)

    async def test_upload(self) -> None:
        """A Zato module (`def handle`, zato.server.service) uploaded as base64 runs on every node when the service
        responds."""
        report = await self.upload(CRM)
        self.assertEqual((report['file'], report['number'], report['services']), ('crm.py', 1, ['crm.get-balance']))
        self.assertEqual((report['refused'], report['missing']), ({}, []))
        for node in (self.one, self.two):
            self.assertEqual(await node.call('crm.get-balance', {'account_id': '21'}), {'response': {'balance': 42}})

    async def test_upload_of_a_package(self) -> None:
        """A zip is deployed as a package."""
        report = await self.upload(create_zip({'crm/__init__.py': b'', 'crm/api.py': CRM}), 'crm.zip')
        self.assertEqual((report['file'], report['services']), ('crm', ['crm.get-balance']))

    async def test_upload_refused(self) -> None:
        """Bad code, bad base64 and missing fields are 400, each with its path or line."""
        service = 'zato.service.upload-package'
        bad = {'payload': b64encode(b'x = y').decode(), 'payload_name': 'crm.py'}
        self.assertEqual(await self.refusal(service, bad, 400), "crm.py:1: NameError: name 'y' is not defined")
        self.assertIn('$.payload: is not base64', await self.refusal(service, {**bad, 'payload': '*'}, 400))
        told = await self.refusal(service, {}, 400)
        self.assertIn('$.payload: missing', told)
        self.assertIn('$.payload_name: missing', told)

    async def test_rollback_and_versions(self) -> None:
        """Stored versions are listed newest first; any of them can be activated by number or id."""
        for n in (1, 2, 3):
            await self.upload(CRM + b'# %d' % n)
        versions = await self.call('zato.hot-deploy.get-versions', {'name': 'crm.py'})
        self.assertEqual([(v['number'], v['active']) for v in versions], [(3, True), (2, False), (1, False)])
        self.assertEqual(versions, await self.call('zato.hot-deploy.get-versions'))
        for service, payload, number in (
            ('zato.service.rollback', {'name': 'crm.get-balance'}, 2),
            ('zato.deploy.rollback', {'name': 'crm.py', 'number': '1'}, 1),
            ('zato.hot-deploy.create', {'package_id': versions[0]['id']}, 3),
        ):
            self.assertEqual((await self.call(service, payload))['number'], number)
        self.assertIn('$.number', await self.refusal('zato.service.rollback', {'name': 'crm.py', 'number': 'x'}, 400))
        self.assertIn('these are', await self.refusal('zato.service.rollback', {'name': 'crm.py', 'number': 9}, 404))
        self.assertIn('99', await self.refusal('zato.hot-deploy.create', {'package_id': 99}, 404))


    async def test_source_of_a_version(self) -> None:
        """Every stored version gives the files it consists of."""
        await self.upload(CRM)
        await self.upload(CRM + b'# new')
        for number, content in ((1, CRM), ('2', CRM + b'# new')):
            found = await self.call('zato.hot-deploy.get-source', {'name': 'crm.py', 'number': number})
            (one,) = found['files']
            self.assertEqual((one['path'], b64decode(one['content'])), ('crm.py', content))
        await self.upload(create_zip({'pack/__init__.py': b'', 'pack/api.py': PLAIN}), 'pack.zip')
        found = await self.call('zato.hot-deploy.get-source', {'name': 'pack', 'number': 1})
        self.assertEqual([one['path'] for one in found['files']], ['pack/__init__.py', 'pack/api.py'])
        service = 'zato.hot-deploy.get-source'
        self.assertIn('No version 9', await self.refusal(service, {'name': 'pack', 'number': 9}, 404))
        self.assertIn('$.number', await self.refusal(service, {'name': 'x', 'number': 'y'}, 400))


class InvokeTests(InternalTestCase):
    async def invoke(self, payload: bytes | None, **fields: Any) -> bytes:
        """Call zato.service.invoke and return the inner response."""
        request = {**fields, **({} if payload is None else {'payload': b64encode(payload).decode()})}
        return b64decode((await self.call('zato.service.invoke', request))['response'])

    async def test_by_name_and_id(self) -> None:
        """Services are invoked by name or id, with JSON, in the service's own response element."""
        await self.with_crm()
        row = await self.call('zato.service.get-by-name', {'name': 'crm.get-balance'})
        for chosen in ({'name': 'crm.get-balance'}, {'id': row['id']}, {'id': str(row['id'])}):
            answer = await self.invoke(b'{"account_id": 3}', data_format='json', **chosen)
            self.assertEqual(msgspec.json.decode(answer), {'response': {'balance': 6}})

    async def test_internal_ones(self) -> None:
        """The response of a built-in service includes zato_env, as on its own channel."""
        body = await self.invoke(b'{}', name='zato.ping', data_format='json', transport='plain_http')
        answer = msgspec.json.decode(body)
        self.assertEqual((answer['zato_env']['result'], answer['zato_ping_response']), ('ZATO_OK', {'pong': 'zato'}))

    async def test_payloads(self) -> None:
        """Without a format JSON is decoded and other text stays text; other formats are bytes; a missing payload is
        empty."""
        for payload, fields, expected in (
            (b'{"a": 1}', {}, b'{"a":1}'),
            ('grüß dich'.encode(), {}, 'grüß dich'.encode()),
            (b'\xff\x00', {}, b'\xff\x00'),
            (b'<a/>', {'data_format': 'xml'}, b'<a/>'),
            (None, {}, b''),
        ):
            self.assertEqual(await self.invoke(payload, name='zato.helpers.echo', **fields), expected)

    async def test_wrong_requests(self) -> None:
        """Each invalid request has its own message: id and name together, neither, an unknown name, bad base64, bad
        JSON, async, itself."""
        service, echo = 'zato.service.invoke', {'name': 'zato.helpers.echo'}
        for payload, status, told in (
            ({'id': 1, 'name': 'x'}, 400, 'either id or name'),
            ({}, 400, 'give id or name'),
            ({'name': 'nix'}, 404, 'nix'),
            ({'id': 999}, 404, '999'),
            ({**echo, 'payload': '*'}, 400, '$.payload: is not base64'),
            ({**echo, 'payload': b64encode(b'{').decode(), 'data_format': 'json'}, 400, '$.payload: is not JSON'),
            ({'name': service}, 409, 'cannot invoke itself'),
        ):
            self.assertIn(told, await self.refusal(service, payload, status))


class EnmasseTests(InternalTestCase):
    document = {
        'security': [{'name': 'u', 'type': 'basic_auth', 'username': 'u', 'password': 'gehe1m'}],
        'channel_rest': [{'name': 'c', 'url_path': '/c', 'service': 'crm.get-balance', 'security': 'u'}],
    }

    async def test_import(self) -> None:
        """An import is live on every node when the service responds; importing it again changes nothing."""
        await self.with_crm()
        result = await self.call('zato.enmasse.import', {'document': self.document})
        self.assertEqual((result['changed'], result['unchanged'], result['dry_run']), (2, 0, False))
        for node in (self.one, self.two):
            self.assertEqual(node.config.snapshot.find('channel_rest', 'c').value.security, 'u')
        again = await self.call('zato.enmasse.import', {'document': self.document})
        self.assertEqual((again['changed'], again['unchanged'], again['diff']), (0, 2, []))

    async def test_dry_run(self) -> None:
        """A dry run shows the differences without secrets and changes nothing."""
        await self.with_crm()
        before = await self.one.odb.revision()
        result = await self.call('zato.enmasse.import', {'document': self.document, 'dry_run': True})
        self.assertIn("+ security 'u'", result['diff'])
        self.assertNotIn('gehe1m', str(result))
        self.assertEqual(await self.one.odb.revision(), before)

    async def test_refused(self) -> None:
        """All mistakes are reported at once, and nothing is changed."""
        wrong = {'security': [{'name': 'u', 'type': 'nix'}], 'channel_rest': [{'name': 'c', 'service': 'no.such'}]}
        told = await self.refusal('zato.enmasse.import', {'document': wrong}, 400)
        for part in ('type', 'no.such', 'url_path'):
            self.assertIn(part, told)
        told = await self.refusal('zato.enmasse.import', {'document': []}, 400)
        self.assertIn('$.document: expected an object', told)

    async def test_unread_references(self) -> None:
        """A document with unresolved references is rejected unless the sender declares them resolved."""
        user = {**self.document['security'][0], 'password': '${PW}'}
        told = await self.refusal('zato.enmasse.import', {'document': {'security': [user]}}, 400)
        self.assertIn("security 'u': password: it refers to a variable", told)
        self.assertIsNone(self.one.config.snapshot.find('basic_auth', 'u'))
        text = await self.call('zato.enmasse.import', {'document': {'security': [user]}, 'resolved': True})
        self.assertEqual(text['changed'], 1)

    async def test_export(self) -> None:
        """The exported YAML imports without changes; secrets are included only on request."""
        await self.with_crm()
        await self.call('zato.enmasse.import', {'document': self.document})
        text = (await self.call('zato.enmasse.export'))['yaml']
        self.assertNotIn('argon2', text)
        full = (await self.call('zato.enmasse.export', {'include_secrets': True}))['yaml']
        again = await self.call('zato.enmasse.import', {'document': yaml.safe_load(full), 'replace': True})
        self.assertEqual((again['changed'], again['unchanged']), (0, 2))
