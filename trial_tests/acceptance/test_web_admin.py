"""The web admin in a browser: a real Chromium, a real environment.

Playwright's synchronous interface belongs to one thread: the test case keeps one for the browser, in which each test
runs as a whole.
"""

from __future__ import annotations

import json
import shutil
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from playwright.sync_api import Browser, Page, Playwright, sync_playwright
from treq.client import HTTPClient
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, HTTPConnectionPool

from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.cluster_api import ClusterApiContract
from trial_tests.support.rawhttp import basic
from trial_tests.support.waiting import until
from zatotx.admin.cluster_api import HttpClusterApi, IClusterApi

reactor: Any = _reactor
TIMEOUT = 20_000  # milliseconds for whatever is waited for: a loaded machine is slow
SERVICE = '''
from zatotx import Service


class Hello(Service):
    """ Greets whoever asks. """
    name = 'web.hello'
    input = '-name'

    async def handle(self):
        self.response.payload = {'hello': self.request.input.name or 'nobody'}


class Fails(Service):
    name = 'web.fails'

    async def handle(self):
        raise ValueError('<b>never</b>')
'''
MARKUP = '"><img src=x onerror=document.title="stolen"><script>document.title="stolen"</script>'


def build() -> Broker:
    """An environment with one server and the web admin."""
    broker = create(parts=('web-admin', 'load-balancer'))
    broker.start()
    make_dead_letters(broker)
    return broker


def make_dead_letters(broker: Broker) -> None:
    """Two messages that a service gave up."""
    broker.serve('web_admin_demo.py', SERVICE)
    payload = b64encode(b'{"name": "wrong"}').decode()
    for _ in range(2):  # each is given up after half a minute
        body = json.dumps({'name': 'web.fails', 'payload': payload, 'data_format': 'json', 'async': True})
        answer = broker.invoke('zato.service.invoke', body.encode())
        if answer.status != 200:
            raise AssertionError(answer.body)


class _Chromium:
    """The browser of this module and its thread."""

    pool: ClassVar[ThreadPool | None] = None
    playwright: ClassVar[Playwright | None] = None
    browser: ClassVar[Browser | None] = None

    @classmethod
    def start(cls) -> Browser:
        """Start the browser, once; in its thread."""
        if cls.browser is None:
            program = shutil.which('chromium')
            if program is None:
                raise AssertionError("There is no chromium: 'make peers' installs it")
            cls.playwright = sync_playwright().start()
            cls.browser = cls.playwright.chromium.launch(executable_path=program, args=['--no-sandbox'])
        return cls.browser

    @classmethod
    def stop(cls) -> None:
        """End the browser; in its thread."""
        if cls.browser is not None and cls.playwright is not None:
            cls.browser.close()
            cls.playwright.stop()
        cls.browser = cls.playwright = None


def in_browser_thread(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    """Run a function in the thread of the browser."""
    if _Chromium.pool is None:
        _Chromium.pool = ThreadPool(1, 1, 'browser')
        _Chromium.pool.start()
        reactor.addSystemEventTrigger('before', 'shutdown', _end)
    done: Deferred[Any] = deferToThreadPool(reactor, _Chromium.pool, function, *arguments)
    return done


def _end() -> Deferred[Any]:
    return in_browser_thread(_Chromium.stop).addCallback(lambda _: _stop_pool())


def _stop_pool() -> None:
    if _Chromium.pool is not None:
        _Chromium.pool.stop()
        _Chromium.pool = None


def in_browser(test: Callable[[Any], None]) -> Callable[[Any], Deferred[None]]:
    """Make a test that drives the browser run in its thread."""

    def run(self: Any) -> Deferred[None]:
        return in_browser_thread(test, self)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


class RealClusterApiTests(ClusterApiContract, TestCase):
    """The client against a real server: the contract of the double that the unit tests use."""

    def setUp(self) -> None:
        broker = shared('web-admin', build)
        self.user = broker.credentials()['web_admin']
        pool = HTTPConnectionPool(reactor, persistent=False)
        client = HTTPClient(Agent(reactor, pool=pool))
        self.api = HttpClusterApi(client=client, clock=reactor, servers=[f'http://127.0.0.1:{broker.port()}'])

    def cluster_api(self) -> IClusterApi:
        api: IClusterApi = self.api
        return api

    def credentials(self) -> tuple[str, str]:
        return self.user['username'], self.user['password']


class WebAdminTests(TestCase):
    """Journeys through the screens. Each test uses names of its own."""

    timeout = 120

    def setUp(self) -> None:
        self.broker = shared('web-admin', build)
        self.base = f'http://127.0.0.1:{self.broker.admin_port()}'
        self.problems: list[str] = []

    @contextmanager
    def page(self, **options: Any) -> Iterator[Page]:
        """A page of a browser profile of its own. Console errors, CSP reports and failed responses are recorded."""
        context = _Chromium.start().new_context(**options)
        context.set_default_timeout(TIMEOUT)
        page = context.new_page()
        page.on('console', lambda message: self.problems.append(f'{page.url}: {message.text}')
                if message.type in ('error', 'warning') else None)
        page.on('pageerror', lambda error: self.problems.append(f'{page.url}: {error}'))
        try:
            yield page
        finally:
            context.close()

    def log_in(self, page: Page, username: str = '', password: str = '') -> None:
        """Log in, by default as the first user."""
        user = self.broker.credentials()['web_admin']
        page.goto(f'{self.base}/login')
        page.get_by_label('Username', exact=True).fill(username or user['username'])
        page.get_by_label('Password', exact=True).fill(password or user['password'])
        page.get_by_role('button', name='Log in').click()

    def open(self, page: Page, link: str) -> None:
        """Follow a link of the navigation to the screen of that heading."""
        page.get_by_role('navigation').get_by_role('link', name=link, exact=True).click()
        self.assertEqual(page.get_by_role('heading', level=1).inner_text(), link)

    def create(self, page: Page, link: str, fields: dict[str, str]) -> None:
        """Create an object of the type of that link by its form."""
        self.open(page, link)
        page.get_by_role('link', name='Create', exact=True).click()
        for label, value in fields.items():
            control = page.get_by_label(label, exact=True)
            if control.evaluate('element => element.tagName') == 'SELECT':
                control.select_option(label=value)
            else:
                control.fill(value)
        page.get_by_role('button', name='Create', exact=True).click()

    def delete(self, page: Page, name: str) -> None:
        """Delete the object in the row of that name."""
        page.get_by_role('row').filter(has_text=name).get_by_role('link', name='Delete').click()
        page.get_by_role('button', name='Delete', exact=True).click()

    @in_browser
    def test_a_channel_from_nothing(self) -> None:
        """A service is uploaded, credentials and a channel are created by their forms; the channel answers at once,
        changes when it is edited, and is gone when it is deleted. The history names the user."""
        with self.page() as page:
            self.log_in(page)
            self.open(page, 'Services')
            page.get_by_label('Upload').set_input_files(self.broker.write('web_admin_demo.py', SERVICE))
            page.get_by_role('button', name='Deploy').click()
            self.assertIn('web.hello', page.get_by_role('status').inner_text())
            self.create(page, 'Basic auth', {'Name': 'web.user', 'Username': 'web.user', 'Password': 's3cret-web',
                                             'Realm': 'Web'})  # fmt: skip
            self.assertIn('web.user is created', page.get_by_role('status').inner_text())
            self.create(page, 'REST channels', {
                'Name': 'web.channel', 'URL path': '/web/hello', 'Service': 'web.hello', 'Security': 'web.user',
                'Method': 'POST', 'Data format': 'json'})  # fmt: skip
            credentials = basic('web.user', 's3cret-web')
            self.assertEqual(self.broker.ask('POST', '/web/hello', body=b'{}').status, 401)
            answer = self.broker.ask('POST', '/web/hello', fields=credentials, body=b'{"name": "Ada"}')
            self.assertEqual((answer.status, answer.body), (200, b'{"hello":"Ada"}'))

            page.get_by_role('row').filter(has_text='web.channel').get_by_role('link', name='Edit').click()
            self.assertEqual(page.get_by_label('Security', exact=True).input_value(), 'web.user')
            page.get_by_label('URL path', exact=True).fill('/web/moved')
            page.get_by_role('button', name='Save').click()
            self.assertIn('is saved', page.get_by_role('status').inner_text())
            self.assertEqual(self.broker.ask('POST', '/web/hello', fields=credentials, body=b'{}').status, 404)
            self.assertEqual(self.broker.ask('POST', '/web/moved', fields=credentials, body=b'{}').status, 200)

            self.open(page, 'Basic auth')
            page.get_by_role('row').filter(has_text='web.user').get_by_role('link', name='Delete').click()
            self.assertTrue(page.get_by_role('button', name='Delete', exact=True).is_disabled())
            page.get_by_role('main').get_by_role('link', name='web.channel').wait_for()
            self.open(page, 'REST channels')
            self.delete(page, 'web.channel')
            self.assertIn('web.channel is deleted', page.get_by_role('status').inner_text())
            self.assertEqual(self.broker.ask('POST', '/web/moved', fields=credentials, body=b'{}').status, 404)
            self.open(page, 'History')
            row = page.get_by_role('row').filter(has_text='delete').filter(has_text='web.channel')
            self.assertIn('admin', row.inner_text())
        self.assertEqual(self.problems, [])

    @in_browser
    def test_mistakes_in_a_form(self) -> None:
        """A rejected form says what is wrong beside the fields, all at once, and keeps what was typed."""
        with self.page() as page:
            self.log_in(page)
            self.create(page, 'REST channels', {'Name': 'web.wrong', 'URL path': 'no-slash', 'Service': 'web.none'})
            self.assertEqual(page.get_by_label('Name', exact=True).input_value(), 'web.wrong')
            self.assertEqual(page.get_by_label('Service', exact=True).input_value(), 'web.none')
            wrong = page.locator('.wrong .error')
            wrong.nth(1).wait_for()
            self.assertEqual(wrong.count(), 2, page.get_by_role('main').inner_text())
            self.assertIn('/', wrong.nth(0).inner_text())
            self.assertIn('web.none', wrong.nth(1).inner_text())
            self.assertIn('Not saved', page.get_by_role('alert').inner_text())

    @in_browser
    def test_two_administrators(self) -> None:
        """What somebody else has changed meanwhile is not overwritten, and the one who is late learns of it."""
        with self.page() as first, self.page() as second:
            self.log_in(first)
            self.create(first, 'Security groups', {'Name': 'web.group'})
            self.create(first, 'Rate limits', {'Name': 'web.limit', 'Limit': '10/s'})
            self.log_in(second)
            for page in (first, second):
                self.open(page, 'Rate limits')
                page.get_by_role('row').filter(has_text='web.limit').get_by_role('link', name='Edit').click()
                page.get_by_label('Limit', exact=True).fill('20/s' if page is first else '30/s')
            for page in (first, second):
                page.get_by_role('button', name='Save').click()
            self.assertIn('is saved', first.get_by_role('status').inner_text())
            self.assertIn('Not saved', second.get_by_role('alert').inner_text())
            self.assertEqual(second.get_by_label('Limit', exact=True).input_value(), '30/s')
            versions = second.get_by_role('row').filter(has_text='Limit').inner_text()
            self.assertTrue('20/s' in versions and '30/s' in versions, versions)

    @in_browser
    def test_markup_is_text(self) -> None:
        """Markup in names and values is shown as text on every screen that shows it, and runs nowhere."""
        with self.page() as page:
            self.log_in(page)
            name = f'web.xss {MARKUP}'
            self.create(page, 'Basic auth', {'Name': name, 'Username': 'xss<b>', 'Realm': MARKUP})
            for path in ('/objects/basic_auth', '/history', '/', '/search?q=web.xss', '/objects/channel_rest/create'):
                page.goto(self.base + path)
                self.assertNotEqual(page.title(), 'stolen', path)
                self.assertEqual(page.locator('main img[src=x]').count(), 0, path)
            self.open(page, 'Basic auth')
            self.assertIn(MARKUP, page.get_by_role('row').filter(has_text='web.xss').inner_text())
            page.get_by_role('link', name=name).click()
            self.assertEqual(page.get_by_label('Realm', exact=True).input_value(), MARKUP)
            self.assertNotEqual(page.title(), 'stolen')
            self.open(page, 'Basic auth')
            self.delete(page, 'web.xss')
        self.assertEqual(self.problems, [])

    @in_browser
    def test_invoking(self) -> None:
        """A service is invoked with a payload; its answer, or the reason of its failure, is shown."""
        with self.page() as page:
            self.log_in(page)
            for service, expected in (('web.hello', '"hello": "Bob"'), ('web.fails', 'Failed with 500')):
                self.open(page, 'Services')
                page.get_by_role('main').get_by_role('link', name=service, exact=True).click()
                page.get_by_role('main').get_by_role('link', name='Invoke', exact=True).click()
                page.get_by_label('Payload', exact=True).fill('{"name": "Bob"}')
                page.get_by_role('button', name='Invoke').click()
                page.locator('#answer pre').wait_for()
                self.assertIn(expected, page.locator('#answer').inner_text())
            page.get_by_role('main').get_by_role('link', name='Source', exact=True).click()
            self.assertIn("raise ValueError('<b>never</b>')", page.get_by_label('Source', exact=True).inner_text())
            page.get_by_role('main').get_by_role('link', name='Overview', exact=True).click()
            page.get_by_label('WSDL file').set_input_files(self.broker.write('web.wsdl', '<definitions/>'))
            page.get_by_role('button', name='Upload').click()
            self.assertIn('web.wsdl', page.get_by_role('status').inner_text())
            with page.expect_download() as download:
                page.locator('a[href$="/wsdl"]').click()
            self.assertEqual(download.value.path().read_text(), '<definitions/>')
            page.get_by_role('button', name='Remove').click()
            self.assertIn('no WSDL of its own', page.get_by_role('status').inner_text())

    @in_browser
    def test_wrong_passwords(self) -> None:
        """After four wrong passwords logins are rejected with 429 for some time; another user is not affected."""
        with self.page() as page:
            statuses: list[int] = []
            while 429 not in statuses and len(statuses) < 9:  # the rejection lasts 1, 2, 4, … s: see the LoginBackoff
                with page.expect_response(lambda response: response.request.method == 'POST') as answer:
                    self.log_in(page, 'web.nobody', 'wrong')
                statuses.append(answer.value.status)
            self.assertEqual((statuses[:4], statuses[-1]), ([401] * 4, 429), statuses)
            page.get_by_role('alert').filter(has_text='try again in').wait_for()
            self.log_in(page)
            page.get_by_role('button', name='Log out').wait_for()

    @in_browser
    def test_forgery(self) -> None:
        """A change without the CSRF token, from another origin, or under an unknown name is rejected; every page has a
        Content-Security-Policy without unsafe-inline; the session's cookie is out of reach of scripts."""
        with self.page() as page:
            self.log_in(page)
            page.wait_for_url(f'{self.base}/')
            request = page.context.request
            form: dict[str, Any] = {'name': 'web.forged', 'username': 'web.forged'}
            url = f'{self.base}/objects/basic_auth/create'
            self.assertEqual(request.post(url, form=form).status, 403)
            self.assertEqual(request.post(url, form={**form, 'csrf_token': 'f' * 64}).status, 403)
            self.assertEqual(request.post(f'{self.base}/logout', form={}).status, 403)
            token = page.locator('input[name=csrf_token]').first.input_value()
            valid = {**form, 'csrf_token': token}
            self.assertEqual(request.post(url, form=valid, headers={'Origin': 'http://evil.example'}).status, 403)
            self.assertEqual(request.get(self.base, headers={'Host': 'evil.example'}).status, 421)
            for path in ('/', '/login', '/objects/basic_auth', '/nowhere'):
                policy = request.get(self.base + path).headers['content-security-policy']
                self.assertIn("default-src 'none'", policy)
                self.assertNotIn('unsafe', policy)
            cookies = {cookie['name']: cookie for cookie in page.context.cookies()}
            (session,) = [cookie for name, cookie in cookies.items() if '-session-' in name]
            self.assertEqual((session['httpOnly'], session['sameSite']), (True, 'Lax'))
            self.assertEqual(page.evaluate('document.cookie'), '')
            self.assertNotIn('web.forged', page.content())

    @in_browser
    def test_roles(self) -> None:
        """A viewer sees everything and changes nothing, on the screens and behind them. Logging out ends the
        session."""
        with self.page() as page:
            self.log_in(page)
            self.open(page, 'Web admin users')
            page.get_by_role('link', name='Create', exact=True).click()
            for label, value in (('Name', 'web.viewer'), ('Username', 'web.viewer'), ('Password', 'a viewer')):
                page.get_by_label(label, exact=True).fill(value)
            page.get_by_label('viewer', exact=True).check()
            page.get_by_role('button', name='Create', exact=True).click()
            self.assertIn('is created', page.get_by_role('status').inner_text())
        with self.page() as page:
            self.log_in(page, 'web.viewer', 'a viewer')
            self.open(page, 'Basic auth')
            self.assertEqual(page.get_by_role('link', name='Create', exact=True).count(), 0)
            self.assertEqual(page.get_by_role('link', name='Delete').count(), 0)
            token = page.locator('input[name=csrf_token]').first.input_value()
            form: dict[str, Any] = {'name': 'web.no', 'username': 'web.no', 'csrf_token': token}
            request = page.context.request
            self.assertEqual(request.post(f'{self.base}/objects/basic_auth/create', form=form).status, 403)
            old = page.context.cookies()
            page.get_by_role('button', name='Log out').click()
            page.wait_for_url(f'{self.base}/login')
            page.context.add_cookies(old)  # type: ignore[arg-type]
            page.goto(f'{self.base}/objects/basic_auth')
            self.assertIn('/login?next=', page.url)

    @in_browser
    def test_password_and_ping(self) -> None:
        """A new password is typed twice; a ping shows the answer of the peer, or why there is none."""
        with self.page() as page:
            self.log_in(page)
            self.create(page, 'Basic auth', {'Name': 'web.pass', 'Username': 'web.pass', 'Password': 'old'})
            page.get_by_role('row').filter(has_text='web.pass').get_by_role('link', name='Password').click()
            for second in ('other', 'new'):
                page.get_by_label('New password', exact=True).fill('new')
                page.get_by_label('New password again').fill(second)
                page.get_by_role('button', name='Save').click()
                if second == 'other':
                    self.assertIn('is not the same', page.get_by_role('main').inner_text())
            self.assertIn('is changed', page.get_by_role('status').inner_text())
            address = f'http://127.0.0.1:{self.broker.port()}'
            self.create(page, 'Outgoing REST', {'Name': 'web.up', 'Host': address, 'URL path': '/zato/ping'})
            self.create(page, 'Outgoing REST', {'Name': 'web.down', 'Host': 'http://127.0.0.1:1'})
            for name, state in (('web.up', 'Answered'), ('web.down', 'Failed')):
                self.open(page, 'Outgoing REST')
                page.get_by_role('row').filter(has_text=name).get_by_role('button', name='Ping').click()
                self.assertIn(state, page.get_by_role('main').inner_text())

    @in_browser
    def test_key_value(self) -> None:
        """Dictionary entries and a translation are created and used; a Redis command shows its result."""
        with self.page() as page:
            self.log_in(page)
            for system, key, value in (('CRM', 'country', 'PL'), ('ERP', 'ctry', '616')):
                self.create(page, 'Data dictionaries', {'System': system, 'Key': key, 'Value': value})
                self.assertIn('Saved', page.get_by_role('status').inner_text())
            pair = {'System 1': 'CRM', 'Key 1': 'country', 'Value 1': 'PL', 'System 2': 'ERP', 'Key 2': 'ctry'}
            self.create(page, 'Translations', {**pair, 'Value 2': '616'})
            self.open(page, 'Translate')
            for label, value in pair.items():
                page.get_by_label(label, exact=True).fill(value)
            page.get_by_role('button', name='Translate').click()
            self.assertIn('616', page.get_by_role('main').inner_text())
            self.open(page, 'Remote commands')
            for command, result in (('set web-key "a value"', 'OK'), ('get web-key', 'a value')):
                page.get_by_label('Command').fill(command)
                page.get_by_role('button', name='Execute').click()
                self.assertIn(result, page.get_by_label('Result').inner_text())
            page.get_by_label('Command').fill('flushall')
            page.get_by_role('button', name='Execute').click()
            self.assertIn('Not executed', page.get_by_role('alert').inner_text())
            self.open(page, 'Data dictionaries')
            self.delete(page, 'ctry')
            self.open(page, 'Translations')
            self.assertIn('Nothing here yet', page.get_by_role('main').inner_text())

    @in_browser
    def test_import_and_restore(self) -> None:
        """A document's changes are shown before they are applied; an earlier revision is restored the same way."""
        with self.page() as page:
            self.log_in(page)
            self.open(page, 'Import and export')
            page.get_by_label('YAML').fill('rate_limit:\n  - {name: web.import, limit: 5/s}\n  - {name: web.bad}')
            page.get_by_role('button', name='Show what changes').click()
            self.assertIn('web.bad', page.get_by_role('alert').inner_text())
            page.get_by_label('YAML').fill('rate_limit:\n  - {name: web.import, limit: 5/s}')
            page.get_by_role('button', name='Show what changes').click()
            self.assertIn('web.import', page.locator('pre').inner_text())
            page.get_by_role('button', name='Apply').click()
            self.assertIn('1 changed', page.get_by_role('status').inner_text())
            with page.expect_download() as download:
                page.get_by_role('button', name='Export').click()
            self.assertIn('web.import', download.value.path().read_text())
            self.open(page, 'History')
            row = page.get_by_role('row').filter(has_text='web.import')
            row.get_by_role('link').click()
            revision = int(page.get_by_role('heading', level=1).inner_text().split()[-1])
            self.assertIn('5/s', page.get_by_role('main').inner_text())
            page.goto(f'{self.base}/history/{revision - 1}/restore')
            self.assertIn('web.import', page.locator('pre').inner_text())
            page.get_by_role('button', name='Restore').click()
            self.assertIn('is restored', page.get_by_role('status').inner_text())
            self.open(page, 'Rate limits')
            self.assertNotIn('web.import', page.get_by_role('main').inner_text())

    @in_browser
    def test_jobs(self) -> None:
        """A job is created, executed, and its run is in its history; it is paused."""
        with self.page() as page:
            self.log_in(page)
            self.create(page, 'Scheduler', {'Name': 'web.job', 'Service': 'web.hello', 'Job type': 'interval_based',
                                            'Hours': '5'})  # fmt: skip
            row = page.get_by_role('row').filter(has_text='web.job')
            self.assertIn('every 5 hours', row.inner_text())
            row.get_by_role('button', name='Execute').click()
            until(lambda: bool(page.reload()) and page.get_by_text('ok', exact=True).count() > 0, 'the run of the job')
            page.get_by_role('button', name='Pause').click()
            self.assertIn('is paused', page.get_by_role('status').inner_text())

    @in_browser
    def test_what_was_given_up(self) -> None:
        """A message that failed is shown with its cause, corrected, and replayed; another one is purged."""
        until(lambda: self.broker.invoke('zato.dead-letter.get-list').body.count(b'web.fails') >= 2, 'two dead letters')
        with self.page() as page:
            self.log_in(page)
            self.open(page, 'Dead letters')
            page.get_by_role('row').filter(has_text='web.fails').first.get_by_role('link').click()
            self.assertIn('ValueError', page.get_by_role('main').inner_text())
            page.get_by_label('Service', exact=True).fill('web.hello')
            page.get_by_label('Payload', exact=True).fill('{"name": "corrected"}')
            page.get_by_role('button', name='Save').click()
            self.assertIn('is saved', page.get_by_role('status').inner_text())
            page.get_by_role('button', name='Replay').click()
            self.assertIn('1 messages run again', page.get_by_role('status').inner_text())
            page.get_by_role('checkbox', name='Select all').check()
            page.get_by_role('button', name='Purge').click()
            page.get_by_role('button', name='Purge').click()
            self.assertIn('No dead letters', page.get_by_role('main').inner_text())

    @in_browser
    def test_live_figures(self) -> None:
        """The first page shows figures of calls as they come, and the statistics count them."""
        with self.page() as page:
            self.log_in(page)
            mean = page.locator('.figure [data-live=mean]')
            until(lambda: self.broker.invoke('web.hello').status == 200 and mean.is_visible()
                  and mean.inner_text() not in ('\N{EN DASH}', '0'), 'a figure')  # fmt: skip
            self.open(page, 'Statistics')
            self.assertIn('web.hello', page.get_by_role('table').inner_text())
        self.assertEqual(self.problems, [])

    @in_browser
    def test_the_server_is_killed(self) -> None:
        """While no server answers, a page says so; what was typed meanwhile is not lost, and works afterwards. The
        break-glass account opens the load balancer, and the history has that afterwards."""
        account = self.broker.credentials()['break_glass']
        with self.page() as page, self.page() as local:
            self.log_in(page)
            self.open(page, 'Rate limits')
            page.get_by_role('link', name='Create', exact=True).click()
            page.get_by_label('Name', exact=True).fill('web.killed')
            page.get_by_label('Limit', exact=True).fill('7/s')
            self.broker.kill('server1')
            page.get_by_role('button', name='Create', exact=True).click()
            self.assertIn('No server of the cluster can be reached', page.get_by_role('main').inner_text())
            self.log_in(local, account['username'], account['password'])
            local.get_by_role('heading', name='Load balancer').wait_for()
            self.assertIn('server1', local.get_by_role('main').inner_text())
            self.broker.start()
            self.assertEqual(page.get_by_label('Limit', exact=True).input_value(), '7/s')
            page.get_by_role('button', name='Create', exact=True).click()
            self.assertIn('is created', page.get_by_role('status').inner_text())
            local.get_by_role('button', name='Log out').click()
            self.log_in(local)
            self.open(local, 'History')
            local.get_by_role('row').filter(has_text='local-login').first.wait_for()

    @in_browser
    def test_the_session_ends(self) -> None:
        """A form that is sent after the end of the session asks for the login, and then for the form again, as it was
        filled in."""
        with self.page() as page:
            self.log_in(page)
            self.create(page, 'Rate limits', {})
            page.get_by_label('Name', exact=True).fill('web.expired')
            page.get_by_label('Limit', exact=True).fill('9/s')
            token = next(each['value'] for each in page.context.cookies() if '-session-' in each['name'])
            headers = {'X-Zato-Session': token, 'Content-Type': 'application/json'}
            self.broker.ask('POST', '/zato/admin/invoke/zato.admin.logout', fields=headers, body=b'{}')
            page.get_by_role('button', name='Create', exact=True).click()
            user = self.broker.credentials()['web_admin']
            page.get_by_label('Username', exact=True).fill(user['username'])
            page.get_by_label('Password', exact=True).fill(user['password'])
            page.get_by_role('button', name='Log in').click()
            self.assertEqual(page.get_by_label('Limit', exact=True).input_value(), '9/s')
            page.get_by_role('button', name='Create', exact=True).click()
            self.assertIn('web.expired is created', page.get_by_role('status').inner_text())

    @in_browser
    def test_load_balancer(self) -> None:
        """A server is drained and made ready; the configuration is validated without showing its secrets."""
        with self.page() as page:
            self.log_in(page)
            self.open(page, 'Load balancer')
            for button, state in (('Drain', 'Drain'), ('Ready', 'Up')):
                page.get_by_role('button', name=button, exact=True).click()
                page.get_by_role('row').filter(has_text='server1').get_by_text(state, exact=True).first.wait_for()
            page.get_by_role('link', name='Configuration').click()
            source = page.get_by_label('lb.toml').input_value()
            self.assertIn('password = "******"', source)
            page.get_by_role('button', name='Validate', exact=True).click()
            self.assertIn('is valid', page.get_by_role('status').inner_text())
            page.get_by_label('lb.toml').fill(source.replace('[timeouts]', '[timeouts]\nconnekt = 1'))
            page.get_by_role('button', name='Validate and save').click()
            self.assertIn('connekt', page.get_by_role('alert').inner_text())

    @in_browser
    def test_every_screen_at_every_width(self) -> None:
        """Every link of the navigation leads to a screen without an error, and the forms of all types can be drawn. No
        screen needs sideways scrolling at 390, 768 and 1440 pixels."""
        with self.page(viewport={'width': 1440, 'height': 900}) as page:
            self.log_in(page)
            page.wait_for_url(f'{self.base}/')
            links = page.get_by_role('navigation').get_by_role('link')
            paths = [path for path in links.evaluate_all('all => all.map(each => each.getAttribute("href"))')
                     if path.startswith('/')]  # fmt: skip
            self.assertGreater(len(paths), 25)
            types = [path for path in paths if path.startswith('/objects/')]
            for path in (*types, *(f'{path}/create' for path in types)):
                answer = page.context.request.get(self.base + path)
                self.assertEqual((answer.status, answer.text().count('<h1>')), (200, 1), path)
            drawn = [path for path in paths if path not in types] + [
                '/objects/basic_auth', '/objects/channel_rest/create', '/objects/outgoing_rest/create',
                '/objects/scheduler_job/create', '/load-balancer/source', '/key-value/entries/create']  # fmt: skip
            for path in drawn:
                response = page.goto(self.base + path, wait_until='domcontentloaded')
                self.assertEqual(response is not None and response.status, 200, path)
                for width in (390, 768, 1440):
                    page.set_viewport_size({'width': width, 'height': 900})
                    used = page.evaluate('document.documentElement.scrollWidth')
                    self.assertLessEqual(used, width, f'{path} at {width}')
        self.assertEqual(self.problems, [])
