"""Several objects at once, and taking back what was deleted, over a double of the cluster."""

from __future__ import annotations

import re

from trial_tests.unit.admin.test_application import ApplicationTestCase
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.screens import dead_letters, history

PREFIX = 'zato.security.basic-auth'


class ManyObjectsTests(ApplicationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log_in()
        for name in ('one', 'two', 'three'):
            self.post('/objects/basic_auth/create', {'name': name, 'username': name})
        self.ids = [str(row['id']) for row in self.api.objects['security.basic-auth']]

    def names(self) -> list[str]:
        return [row['name'] for row in self.api.objects['security.basic-auth']]

    def test_export(self) -> None:
        """The selected rows are a file that can be imported."""
        self.api.answers['zato.schema.get-yaml'] = {'yaml': 'security: []\n', 'revision': 8}
        response = self.post('/objects/basic_auth/many', {'action': 'export', 'id': self.ids[:2]})
        self.assertEqual(response.body, 'security: []\n')
        self.assertIn('basic_auth-8.yaml', response.headers.getRawHeaders('content-disposition')[0])
        called = self.api.called('zato.schema.get-yaml')
        self.assertEqual(called, [{'type': 'basic_auth', 'ids': ','.join(self.ids[:2])}])

    def test_what_is_used_stays(self) -> None:
        """The confirmation names what uses each of the objects, and offers to delete the others."""
        users = {'one': [{'type': 'channel_rest', 'id': 9, 'name': 'orders', 'title': 'REST channel'}]}
        self.api.answers['zato.schema.get-usage'] = lambda payload: users.get(payload['name'], [])
        page = self.post('/objects/basic_auth/many', {'action': 'delete', 'id': self.ids[:2]}).body
        self.assertIn('orders', page)
        self.assertEqual(re.findall('name="id" value="([0-9]+)"', page), [self.ids[1]])
        self.assertEqual(self.names(), ['one', 'two', 'three'])

    def test_delete_and_undo(self) -> None:
        """What was deleted is offered back, and comes back to the page that it was deleted on."""
        self.api.answers['zato.history.get-list'] = [
            {'action': 'delete', 'type': 'basic_auth', 'name': 'two', 'revision': 12},
            {'action': 'delete', 'type': 'basic_auth', 'name': 'one', 'revision': 11},
            {'action': 'delete', 'type': 'basic_auth', 'name': 'one', 'revision': 3},
        ]
        form = {'action': 'delete', 'id': [*self.ids[:2], '999'], 'confirmed': 'yes',
                'back': '/objects/basic_auth?sort=name'}  # fmt: skip
        self.assertEqual(self.location(self.post('/objects/basic_auth/many', form)), '/objects/basic_auth?sort=name')
        self.assertEqual(self.names(), ['three'])
        page = self.get('/objects/basic_auth').body
        self.assertIn('name="revisions" value="12,11"', page)
        self.assertNotIn('/undo', self.get('/objects/basic_auth').body)  # offered once
        self.api.answers['zato.history.undo'] = {'changed': 2, 'revision': 13, 'diff': []}
        target = self.location(self.post('/undo', {'revisions': '12,11', 'back': '/objects/basic_auth'}))
        self.assertEqual(target, '/objects/basic_auth')
        self.assertEqual(self.api.called('zato.history.undo'), [{'revisions': '12,11'}])
        self.assertEqual(self.location(self.post('/undo', {'revisions': '1', 'back': 'http://evil'})), '/history')

    def test_an_undo_that_is_refused(self) -> None:
        """It says why."""
        self.api.answers['zato.history.undo'] = ApiError(409, ['one: changed again since'])
        response = self.post('/undo', {'revisions': '1'})
        self.assertEqual(response.code, 409)
        self.assertIn('changed again since', response.body)


class LongListTests(ApplicationTestCase):
    def test_they_say_where_they_end(self) -> None:
        """A list that does not have everything says so, and how to see the rest."""
        self.log_in()
        change = {'at': '2026-11-30T12:00:00+00:00', 'who': 'ada', 'source': 'cli', 'address': '', 'cid': '',
                  'action': 'edit', 'type': 'basic_auth', 'name': 'one', 'revision': 7}  # fmt: skip
        letter = {'id': 'a', 'service': 'crm', 'cause': 'ValueError', 'attempts': 5, 'first_failed': 1.0,
                  'last_failed': 2.0}  # fmt: skip
        self.patch(history, 'MAX_ROWS', 2)
        self.patch(dead_letters, 'MAX_ROWS', 2)
        for count, is_cut in ((1, False), (2, True)):
            self.api.answers['zato.history.get-list'] = [change] * count
            self.api.answers['zato.dead-letter.get-list'] = [letter] * count
            self.assertEqual('among the newest 2 changes' in self.get('/history').body, is_cut)
            self.assertEqual('the 2 that failed last' in self.get('/dead-letters').body, is_cut)
