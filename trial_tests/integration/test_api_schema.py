"""What the web admin draws its screens from: descriptions of types, references, pages of lists, statistics."""

from __future__ import annotations

from typing import Any

from trial_tests.support.internals import CHANNEL, TYPES, USER, InternalTestCase
from zatotx.metrics.definitions import DEFINITIONS
from zatotx.schema.display_labels import field_label, list_heading_of, menu_area_of
from zatotx.schema.meta import fields_of


class SchemaTests(InternalTestCase):
    """One node with the types of HTTP."""

    async def test_descriptions(self) -> None:
        """Every type with services is described completely: each field with a label, references with the types that
        they may name."""
        found = {row['key']: row for row in await self.call('zato.schema.get-list')}
        self.assertEqual(set(found), {one.key for one in TYPES if one.zato is not None})
        for one in TYPES:
            if one.zato is not None:
                self.assertEqual([field['name'] for field in found[one.key]['fields']],
                                 [info.name for info in fields_of(one)])
        fields = {field['name']: field for field in found['channel_rest']['fields']}
        self.assertEqual((fields['service']['reference_types'], fields['security']['zato_name']),
                         (['service'], 'security_id'))
        self.assertIn('basic_auth', fields['security']['reference_types'])
        self.assertNotIn('admin_user', fields['security']['reference_types'])
        self.assertIn('origins', [field['name'] for field in fields['cors']['fields']])
        self.assertIn('change-password', found['basic_auth']['actions'])

    def test_labels(self) -> None:
        """Labels, headings and areas follow from the declarations."""
        self.assertEqual([field_label(name) for name in ('url_path', 'is_active', 'data_format', 'tls_ca', 'username')],
                         ['URL path', 'Active', 'Data format', 'TLS CA', 'Username'])
        self.assertEqual([(list_heading_of(TYPES[key]), menu_area_of(TYPES[key])) for key in (
            'basic_auth', 'channel_rest', 'outgoing_rest', 'rate_limit')],
            [('Basic auth', 'Security'), ('REST channels', 'Channels'), ('Outgoing REST', 'Outgoing'),
             ('Rate limits', 'Other')])

    async def test_references(self) -> None:
        """Names that a reference may have, and what refers to an object."""
        await self.with_crm()
        await self.call('zato.security.basic-auth.create', USER)
        names = await self.call('zato.schema.get-choices', {'types': 'service', 'limit': 2})
        self.assertEqual([row['name'] for row in names], ['crm.get-balance'])
        found = await self.call('zato.schema.get-choices', {'types': 'basic_auth,none', 'query': 'CR'})
        self.assertEqual([(row['name'], row['type']) for row in found], [('crm', 'basic_auth')])
        await self.call('zato.http-soap.create', {**CHANNEL, 'security_id': found[0]['id']})
        for kind, name in (('basic_auth', 'crm'), ('service', 'crm.get-balance')):
            usage = await self.call('zato.schema.get-usage', {'type': kind, 'name': name})
            self.assertEqual([(row['name'], row['type']) for row in usage], [('balance', 'channel_rest')])
        self.assertIn('key of an object type',
                      await self.refusal('zato.schema.get-usage', {'type': 'x', 'name': 'y'}, 400))
        self.assertEqual((await self.call('zato.schema.get-counts'))['channel_rest'], 1)

    async def test_pages(self) -> None:
        """Lists are searched, sorted and paged; what cannot be is said."""
        for number in (3, 1, 2):
            user = {**USER, 'name': f'u{number}', 'username': f'N{4 - number}'}
            await self.call('zato.security.basic-auth.create', user)
        service = 'zato.security.basic-auth.get-list'

        async def names(**options: Any) -> list[str]:
            found = await self.call(service, options)
            return [row['name'] for row in (found['data'] if isinstance(found, dict) else found)]

        self.assertEqual(await names(query='U'), ['u1', 'u2', 'u3'])
        self.assertEqual(await names(sort='username', query='u'), ['u3', 'u2', 'u1'])
        self.assertEqual(await names(sort='-name', paginate=True, page_size=2, query='u'), ['u3', 'u2'])
        self.assertEqual(await names(query='u1 n3'), ['u1'])
        page = await self.call(service, {'paginate': 'true', 'page_size': '2', 'cur_page': '99', 'query': 'u'})
        self.assertEqual(page['_meta'], {'total': 3, 'page_size': 2, 'cur_page': 2, 'num_pages': 2,
                                         'has_prev_page': True, 'has_next_page': False})
        wrong = await self.refusal(service, {'paginate': True, 'page_size': 0, 'cur_page': 'x'}, 400)
        self.assertIn('$.page_size: must be 1 to 1000', wrong)
        self.assertIn('$.cur_page', wrong)

    async def test_statistics(self) -> None:
        """The figures of services that were called, with an estimate of the 95th percentile."""
        bounds = DEFINITIONS['zatotx_service_duration_seconds'].bounds
        buckets = [0] * (len(bounds) + 1)
        buckets[2], buckets[5] = 98, 2
        self.one.sample = {
            'zatotx_service_calls': [[['crm'], 100], [['idle'], 0]], 'zatotx_service_errors': [[['crm'], 3]],
            'zatotx_service_duration_seconds': [[['crm'], [1.5, buckets]]],
            'zatotx_channel_requests': [[['http', 'b'], 7], [['http', 'zato.ping'], 9]],
        }  # fmt: skip
        found = await self.call('zato.stats.get-current')
        self.assertEqual((found['server'], found['requests']), ('one', 7))
        self.assertEqual(found['services'], [{'name': 'crm', 'calls': 100, 'errors': 3, 'seconds': 1.5, 'in_flight': 0,
                                              'p95': bounds[2]}])  # fmt: skip
