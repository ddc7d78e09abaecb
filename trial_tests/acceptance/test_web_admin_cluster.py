"""The screens about the cluster itself in a browser: servers, load balancer, live figures, undo, accessibility."""

from __future__ import annotations

import json
import tomllib
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from twisted.trial.unittest import TestCase

from trial_tests.acceptance import test_web_admin as web_admin
from trial_tests.acceptance.test_web_admin import in_browser
from trial_tests.browser.journeys import without_javascript
from trial_tests.browser.live import tabs
from trial_tests.browser.session import AdminBrowser
from trial_tests.support.broker import shared
from trial_tests.support.waiting import until

PAGES = ('/', '/servers', '/servers/1', '/servers/1/restart', '/servers/restart', '/connectors', '/load-balancer',
         '/load-balancer/edit', '/objects/channel_rest', '/objects/basic_auth/create', '/history',
         '/search?q=e')  # fmt: skip


class ClusterScreenTests(TestCase):
    """Each test leaves the environment as it was."""

    timeout = 180

    def setUp(self) -> None:
        self.broker = shared('web-admin', web_admin.build)

    def admin(self) -> AdminBrowser:
        return AdminBrowser(web_admin._Chromium.start(), self.broker)

    def status(self, page: Page) -> str:
        return page.get_by_role('status').inner_text()

    def ready(self) -> int:
        return self.broker.ask('GET', '/zato/ready').status

    @in_browser
    def test_servers(self) -> None:
        """A server is drained and resumed, and restarts with the history naming who did it; it answers afterwards."""
        admin = self.admin()
        with admin.page() as page:
            page.goto(f'{admin.base}/servers')
            page.get_by_role('main').get_by_role('link', name='Drain').click()
            page.get_by_role('button', name='Drain').click()
            self.assertIn('server1 is drained', self.status(page))
            self.assertEqual(self.ready(), 503)
            page.get_by_role('link', name='Resume').click()
            page.get_by_role('button', name='Resume').click()
            self.assertIn('in service again', self.status(page))
            self.assertEqual(self.ready(), 200)
            before = set(self.broker.pids())
            page.get_by_role('main').get_by_role('link', name='Restart', exact=True).click()
            page.get_by_role('button', name='Restart').click()
            self.assertIn('is restarting', self.status(page))
            until(lambda: self._runs_again(before), 'the restarted server')
            page.goto(f'{admin.base}/history')
            for action in ('drain', 'resume', 'restart'):
                row = page.get_by_role('row').filter(has_text=action).filter(has_text='server1').first
                self.assertIn('admin', row.inner_text())

    def _runs_again(self, before: set[int]) -> bool:
        try:
            return not before & set(self.broker.pids()) and self.ready() == 200
        except OSError:
            return False

    @in_browser
    def test_load_balancer_form(self) -> None:
        """Mistakes in the form are shown at their fields, all at once; what is saved is in lb.toml, comments kept."""
        file = self.broker.path / 'load-balancer' / 'config' / 'lb.toml'
        original = file.read_text()
        admin = self.admin()
        with admin.page() as page:
            page.goto(f'{admin.base}/load-balancer/edit')
            page.get_by_label('Weight', exact=True).first.fill('999')
            page.get_by_label('Connect (s)', exact=True).fill('soon')
            page.get_by_role('button', name='Validate and save').click()
            page.locator('.wrong .error').nth(1).wait_for()
            self.assertEqual(page.locator('.wrong .error').count(), 2, page.get_by_role('main').inner_text())
            self.assertEqual(page.get_by_label('Connect (s)', exact=True).input_value(), 'soon')
            self.assertEqual(file.read_text(), original)
            page.get_by_label('Weight', exact=True).first.fill('7')
            page.get_by_label('Connect (s)', exact=True).fill('15')
            page.get_by_role('button', name='Validate', exact=True).click()
            self.assertIn('is valid', self.status(page))
            page.get_by_role('button', name='Validate and save').click()
            self.assertIn('in force', self.status(page))
            (backend,) = tomllib.loads(file.read_text())['backends'].values()
            self.assertEqual(backend['servers']['server1']['weight'], 7)
            self.assertIn('# to a server', file.read_text())
            page.goto(f'{admin.base}/load-balancer/edit')
            page.get_by_label('Weight', exact=True).first.fill('')
            page.get_by_role('button', name='Validate and save').click()
            self.assertIn('in force', self.status(page))

    @in_browser
    def test_several_objects(self) -> None:
        """Selected objects are switched off, exported, deleted, and come back by one click."""
        admin = self.admin()
        names = ('web.many.1', 'web.many.2')
        self.broker_call('zato.http-soap.create', [
            {'name': name, 'connection': 'outgoing', 'transport': 'plain_http', 'host': 'http://127.0.0.1:1'}
            for name in names])  # fmt: skip
        with admin.page() as page:
            page.goto(f'{admin.base}/objects/outgoing_rest?sort=-name')
            page.locator('#filter').fill('web.many')  # the list follows what is typed
            page.wait_for_url('**query=web.many**')
            page.locator('.pager').get_by_text('of 2').wait_for()
            self.choose(page, 'Switch off')
            self.assertIn('2 of 2 done', self.status(page))
            page.get_by_text('Inactive', exact=True).nth(1).wait_for()
            with page.expect_download() as download:
                self.choose(page, 'Export')
            self.assertIn('web.many.2', download.value.path().read_text())
            self.choose(page, 'Delete selected')
            page.get_by_role('button', name='Delete').click()
            self.assertIn('2 of 2 done', self.status(page))
            self.assertIn('query=web.many', page.url)
            self.assertIn('Nothing matches', page.get_by_role('main').inner_text())
            page.get_by_role('button', name='Undo').click()
            self.assertIn('Restored: 2 objects', self.status(page))
            page.goto(f'{admin.base}/objects/outgoing_rest?query=web.many')
            self.assertEqual(page.get_by_role('link', name='Edit').count(), 2)
            self.choose(page, 'Delete selected')
            page.get_by_role('button', name='Delete').click()
        self.assertEqual(admin.problems, [])

    def broker_call(self, service: str, payloads: list[dict[str, Any]]) -> None:
        for payload in payloads:
            answer = self.broker.invoke(service, json.dumps(payload).encode())
            self.assertEqual(answer.status, 200, answer.body)

    def choose(self, page: Page, button: str) -> None:
        page.get_by_role('checkbox', name='Select all').check()
        page.get_by_role('button', name=button).click()

    @in_browser
    def test_eight_tabs(self) -> None:
        """Eight tabs of a browser have one stream, and another one takes over when the tab with it is closed."""
        self.assertEqual(tabs(self.admin()), (1, 7))

    @in_browser
    def test_without_javascript(self) -> None:
        """Objects, jobs and servers are managed by forms alone."""
        self.assertEqual(without_javascript(self.admin(), 'web.hello'), [])

    @in_browser
    def test_accessibility(self) -> None:
        """axe finds nothing on the main pages, and none of them needs sideways scrolling on a telephone."""
        admin = self.admin()
        with admin.page(viewport={'width': 390, 'height': 844}) as page:
            for path in PAGES:
                page.goto(admin.base + path, wait_until='load')
                self.assertLessEqual(page.evaluate('document.documentElement.scrollWidth'), 390, path)
                found = [(one['id'], [node['target'] for node in one['nodes']])
                         for one in Axe().run(page).response['violations']]  # fmt: skip
                self.assertEqual(found, [], path)
        self.assertEqual(admin.problems, [])
