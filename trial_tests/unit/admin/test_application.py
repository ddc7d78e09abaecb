"""The Klein application over a double of the cluster's API, without a network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.cluster_api import PASSWORD, TYPES, USERNAME, MemoryClusterApi
from zatotx.admin.application import KNOWN_USER_AGE, AdminApplication, shield
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.screens import all_routes
from zatotx.admin.settings import WebSettings
from zatotx.admin.tables import columns_of
from zatotx.admin.type_catalog import TypeDescription
from zatotx.api.object_type_descriptions import describe_type
from zatotx.schema.meta import fields_of

BASE = 'http://127.0.0.1:8183'
TOKEN = re.compile('name="csrf_token" value="([0-9a-f]+)"')


class ApplicationTestCase(SynchronousTestCase):
    """A browser with its cookies, and the admin that it talks to."""

    settings = WebSettings()

    def setUp(self) -> None:
        self.api, self.clock = MemoryClusterApi(), Clock()
        self.application = AdminApplication(api=self.api, cluster='test', settings=self.settings, clock=self.clock,
                                            now=self.clock.seconds, routes=all_routes())  # fmt: skip
        self.browser: Any = StubTreq(self.application.klein.resource())
        self.cookies: dict[str, str] = {}

    def send(self, method: str, path: str, **options: Any) -> Any:
        """Send a request and return the response, with its text in `body`."""
        headers = {'Cookie': '; '.join(f'{name}={value}' for name, value in self.cookies.items()),
                   **options.pop('headers', {})}  # fmt: skip
        response = self.successResultOf(
            self.browser.request(method, BASE + path, headers=headers, allow_redirects=False, **options))
        response.body = self.successResultOf(response.text())
        for header in response.headers.getRawHeaders('set-cookie', []):
            name, _, value = header.partition(';')[0].partition('=')
            self.cookies[name] = value
        return response

    def get(self, path: str, **options: Any) -> Any:
        return self.send('GET', path, **options)

    def post(self, path: str, form: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Send a form with the CSRF token of the session."""
        return self.send('POST', path, data={'csrf_token': self.token, **(form or {})}, **options)

    def post_file(self, path: str, field: str, filename: str, content: bytes, **fields: str) -> Any:
        """Send a form with a file and the CSRF token of the session."""
        parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
                 for name, value in {'csrf_token': self.token, **fields}.items()]
        head = f'--x\r\nContent-Disposition: form-data; name="{field}"; filename="{filename}"\r\n\r\n'
        body = b''.join([*parts, head.encode(), content, b'\r\n--x--\r\n'])
        return self.send('POST', path, data=body, headers={'Content-Type': 'multipart/form-data; boundary=x'})

    def log_in(self, password: str = PASSWORD, target: str = '/') -> Any:
        found = TOKEN.search(self.get(f'/login?next={target}').body)
        assert found is not None
        form = {'csrf_token': found[1], 'username': USERNAME, 'password': password, 'target': target}
        response = self.send('POST', '/login', data=form)
        if response.code == 303:
            page = TOKEN.search(self.get('/settings').body)
            assert page is not None
            self.token = page[1]
        return response

    def location(self, response: Any) -> str:
        self.assertEqual(response.code, 303, response.body)
        target: str = response.headers.getRawHeaders('location')[0]
        return target


class SessionTests(ApplicationTestCase):
    def test_login(self) -> None:
        """Without a session every page leads to the login, and the login back; the session's cookie is for the server
        only."""
        self.assertEqual(self.location(self.get('/objects/basic_auth?query=x')),
                         '/login?next=%2Fobjects%2Fbasic_auth%3Fquery%3Dx')
        self.assertEqual(self.location(self.get('/')), '/login')
        response = self.log_in(target='/objects/basic_auth')
        self.assertEqual(self.location(response), '/objects/basic_auth')
        (cookie,) = [each for each in response.headers.getRawHeaders('set-cookie') if 'session' in each]
        self.assertIn('; Path=/; HttpOnly; SameSite=lax', cookie)
        self.assertEqual(self.get('/objects/basic_auth').code, 200)

    def test_each_login_is_a_new_session(self) -> None:
        """A token that a browser had before the login is not used."""
        self.log_in()
        first = dict(self.cookies)
        self.post('/logout')
        self.log_in()
        changed = [name for name in first if 'session' in name and first[name] != self.cookies[name]]
        self.assertEqual(len(changed), 1)

    def test_wrong_password(self) -> None:
        """The form comes back with the user name and without the password; a backoff is passed on."""
        response = self.log_in('wrong-password')
        self.assertEqual(response.code, 401)
        self.assertIn('value="admin"', response.body)
        self.assertNotIn('wrong-password', response.body)
        error = ApiError(429, ['Too many'], retry_after='7')
        self.patch(self.api, 'log_in', lambda *arguments: _failed(error))
        response = self.log_in()
        self.assertEqual((response.code, response.headers.getRawHeaders('retry-after')), (429, ['7']))
        self.assertIn('try again in 7 seconds', response.body)

    def test_login_without_its_token(self) -> None:
        """Nobody logs another browser in."""
        form = {'username': USERNAME, 'password': PASSWORD}
        self.assertEqual(self.send('POST', '/login', data=form).code, 403)
        self.assertEqual(self.api.sessions, set())

    def test_end_of_a_session(self) -> None:
        """A session that the cluster has ended leads to the login; a request of htmx makes the whole page do so."""
        self.log_in()
        self.api.sessions.clear()
        response = self.get('/objects/basic_auth', headers={'HX-Request': 'true'})
        self.assertEqual((response.code, response.headers.getRawHeaders('hx-redirect')), (401, ['/login']))
        self.log_in()
        self.api.sessions.clear()
        self.assertEqual(self.location(self.get('/objects/basic_auth')), '/login?next=%2Fobjects%2Fbasic_auth')
        self.log_in()
        self.post('/logout')
        self.assertEqual(self.api.sessions, set())

    def test_a_form_after_the_end(self) -> None:
        """What was typed into a form whose session had ended goes through the login, without its secrets: the form is
        shown again, or its step is done after a confirmation."""
        for path, is_shown in (('/objects/basic_auth/create', True), ('/key-value/entries/create', False)):
            self.log_in()
            self.api.sessions.clear()
            form = {'name': 'typed <b>', 'password': 'sesame'}
            response = self.post(path, form)
            self.assertEqual(response.code, 401)
            self.assertIn('what you typed is kept', response.body)
            self.assertNotIn('sesame', response.body)
            fields = dict(re.findall('<input type="hidden" name="([^"]+)" value="([^"]*)">', response.body))
            self.assertEqual(fields['kept.name'], 'typed &lt;b&gt;')
            fields['kept.name'] = 'typed <b>'
            page = self.send('POST', '/login', data={**fields, 'username': USERNAME, 'password': PASSWORD}).body
            self.assertIn(f'action="{path}"', page)
            self.assertIn('name="name" value="typed &lt;b&gt;"', page)
            self.assertEqual('data-continue' in page, is_shown)
            self.assertEqual('Do it now' in page, not is_shown)
            self.cookies.clear()

    def test_roles_are_asked_for_again(self) -> None:
        """What a page offers follows the roles of its user, within half a minute."""
        self.log_in()
        self.assertIn('>Create</a>', self.get('/objects/basic_auth').body)
        self.api.roles = ['viewer']
        self.clock.advance(KNOWN_USER_AGE)
        self.assertNotIn('>Create</a>', self.get('/objects/basic_auth').body)


def _failed(error: Exception) -> Deferred[Any]:
    from twisted.internet.defer import fail

    return fail(error)


class SafetyTests(ApplicationTestCase):
    def test_tokens(self) -> None:
        """A change needs the CSRF token of its session, in the form or in the header of htmx."""
        self.log_in()
        form = {'name': 'x', 'username': 'x'}
        for token in ({}, {'csrf_token': ''}, {'csrf_token': '0' * 64}):
            self.assertEqual(self.send('POST', '/objects/basic_auth/create', data={**form, **token}).code, 403, token)
        self.assertEqual(self.api.called('zato.security.basic-auth.create'), [])
        response = self.send('POST', '/objects/basic_auth/create', data=form, headers={'X-CSRF-Token': self.token})
        self.assertEqual(self.location(response), '/objects/basic_auth')

    def test_every_change_needs_a_token(self) -> None:
        """No route of a POST does anything without it."""
        self.log_in()
        before = len(self.api.calls)
        for route in all_routes():
            if route.method == 'POST':
                path = re.sub('<[^>]+>', '1', route.path.replace('<what>', 'entries').replace('<key>', 'basic_auth'))
                self.assertEqual(self.send('POST', path, data={}).code, 403, path)
        self.assertEqual(len(self.api.calls), before)

    def test_other_sites(self) -> None:
        """Changes from other origins and requests under unknown names are rejected before anything else."""
        self.log_in()
        for headers, status in (({'Origin': 'http://evil.example'}, 403), ({'Origin': 'null'}, 403),
                                ({'Sec-Fetch-Site': 'cross-site'}, 403), ({'Host': 'evil.example'}, 421)):
            before = len(self.api.calls)
            self.assertEqual(self.post('/objects/basic_auth/create', {'name': 'x'}, headers=headers).code, status)
            self.assertEqual(len(self.api.calls), before)

    def test_header_fields(self) -> None:
        """Pages, redirects, errors and files carry the policy; pages with data are not stored by caches."""
        self.log_in()
        static = re.findall('"(/static/[^"]+)"', self.get('/').body)
        names = {path.rpartition('/')[2] for path in static}
        self.assertEqual(names, {'icon.svg', 'admin.css', 'cluster.css', 'htmx.min.js', 'admin.js', 'live.js'})
        for path in ('/', '/login', '/nowhere', '/objects/none', static[0]):
            response = self.get(path)
            (policy,) = response.headers.getRawHeaders('content-security-policy')
            self.assertIn("frame-ancestors 'none'", policy)
            self.assertNotIn('unsafe', policy)
            self.assertEqual(response.headers.getRawHeaders('x-content-type-options'), ['nosniff'])
            self.assertEqual(response.headers.getRawHeaders('x-frame-options'), ['DENY'])
            expected = 'no-store' if path != static[0] else 'public, max-age=31536000, immutable'
            self.assertEqual(response.headers.getRawHeaders('cache-control'), [expected])

    def test_no_inline_code(self) -> None:
        """No template has inline styles, scripts or handlers, which the policy would block."""
        self.log_in()
        for path in ('/objects/basic_auth', '/objects/basic_auth/create', '/objects/channel_rest/create', '/enmasse'):
            inline = r'(?i)<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:'
            self.assertNotRegex(self.get(path).body, inline)

    def test_markup(self) -> None:
        """Names and values are text."""
        self.log_in()
        name = '"><script>alert(1)</script>'
        self.post('/objects/basic_auth/create', {'name': name, 'username': "'><i>"})
        page = self.get('/objects/basic_auth').body
        self.assertNotIn('<script>alert', page)
        self.assertIn('&lt;script&gt;alert(1)&lt;/script&gt;', page)
        self.assertNotIn('<i>', self.get('/objects/basic_auth?query=%3Ci%3E').body)

    def test_an_unexpected_error(self) -> None:
        """It is logged, and the page says no more than that."""
        self.log_in()
        self.api.answers['zato.http-soap.get-list'] = ZeroDivisionError('secret detail')
        response = self.get('/objects/channel_rest')
        self.assertEqual((response.code, len(self.flushLoggedErrors(ZeroDivisionError))), (500, 1))
        self.assertNotIn('secret detail', response.body)

    def test_changes_are_shielded(self) -> None:
        """When the browser leaves, a change that was begun goes on."""
        inner: Deferred[str] = Deferred(lambda _: self.fail('The change is cancelled'))
        outer = shield(inner)
        outer.cancel()
        self.failureResultOf(outer)
        inner.callback('done')

    def test_secrets_stay_in_the_cluster(self) -> None:
        """No list and no form of any type shows a secret, even if a server would send it."""
        self.log_in()
        checked = 0
        for one in TYPES:
            secrets = [info.name for info in fields_of(one) if info.secret]
            if secrets and one.zato is not None:
                columns = columns_of(msgspec.convert(describe_type(one, TYPES), TypeDescription))
                row = {**{column.name: 'x' for column in columns}, 'id': 5, 'name': 'x', 'is_active': True,
                       'revision': 1, **dict.fromkeys(secrets, 'S3CRET')}  # fmt: skip
                self.api.objects[one.zato.prefix] = [row]
                for path in (f'/objects/{one.key}', f'/objects/{one.key}/5', f'/objects/{one.key}/create?from=5'):
                    page = self.get(path)
                    self.assertEqual((page.code, 'S3CRET' in page.body), (200, False), path)
                    checked += 1
        self.assertGreater(checked, 15)


class ReadOnlyTests(ApplicationTestCase):
    settings = WebSettings(read_only=True)

    def test_read_only(self) -> None:
        """A read-only admin shows everything, and rejects changes with the setting's name."""
        self.log_in()
        response = self.post('/objects/basic_auth/create', {'name': 'x', 'username': 'x'})
        self.assertEqual(response.code, 403)
        self.assertIn('read_only', response.body)
        self.assertEqual(self.api.called('zato.security.basic-auth.create'), [])
        self.assertEqual(self.location(self.post('/logout')), '/login')


class HttpsTests(ApplicationTestCase):
    settings = WebSettings(is_behind_https=True, hosts=('admin.example',))

    def test_cookies(self) -> None:
        """Behind HTTPS the cookies are Secure and bound to the host, and browsers keep to HTTPS."""
        self.log_in()
        self.assertTrue(all(name.startswith('__Host-') for name in self.cookies))
        response = self.get('/login', headers={'Host': 'admin.example', 'Cookie': ''})
        self.assertIn('Secure', response.headers.getRawHeaders('set-cookie')[0])
        self.assertTrue(response.headers.getRawHeaders('strict-transport-security'))


class ObjectTests(ApplicationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log_in()

    def test_life_of_an_object(self) -> None:
        """An object is created, found, changed, switched off and deleted by the same screens as any other."""
        fields = {'name': 'crm', 'username': 'crm', 'password': 'p4ss', 'is_active': 'true'}
        response = self.post('/objects/basic_auth/create', fields)
        self.assertEqual(self.location(response), '/objects/basic_auth')
        page = self.get('/objects/basic_auth').body
        self.assertIn('crm is created', page)
        self.assertNotIn('p4ss', page)
        self.assertNotIn('is created', self.get('/objects/basic_auth').body)
        (row,) = self.api.objects['security.basic-auth']
        url = f'/objects/basic_auth/{row["id"]}'
        self.assertIn('value="crm"', self.get(url).body)
        self.location(self.post(url, {**fields, 'username': 'other', 'revision': row['revision']}))
        self.assertEqual(row['username'], 'other')
        self.location(self.post(f'{url}/active', {'is_active': 'false'}))
        self.assertIs(row['is_active'], False)
        self.assertIn('Delete <b>crm</b>', self.get(f'{url}/delete').body)
        self.location(self.post(f'{url}/delete'))
        self.assertEqual(self.api.objects['security.basic-auth'], [])

    def test_rejected(self) -> None:
        """A rejected form keeps what was typed, and marks the fields."""
        response = self.post('/objects/basic_auth/create', {'username': 'typed', 'realm': 'mine', 'password': 'sesame'})
        self.assertEqual(response.code, 400)
        self.assertIn('value="typed"', response.body)
        self.assertIn('<p class="error">missing</p>', response.body)
        self.assertNotIn('sesame', response.body)

    def test_conflict(self) -> None:
        """A change of what somebody else has changed is not made."""
        self.post('/objects/basic_auth/create', {'name': 'crm', 'username': 'crm'})
        (row,) = self.api.objects['security.basic-auth']
        row['revision'] = 9
        response = self.post(f'/objects/basic_auth/{row["id"]}', {'name': 'crm', 'username': 'mine', 'revision': '1'})
        self.assertEqual((response.code, row['username']), (409, 'crm'))
        self.assertIn('changed by somebody else', response.body)
        self.assertIn('value="mine"', response.body)
        self.assertIn('class="old">crm</td><td data-label="Typed" class="new">mine</td>', response.body)
        self.assertIn('name="revision" value="9"', response.body)

    def test_taken_name(self) -> None:
        """Another conflict than that of two changes shows no versions."""
        self.api.answers['zato.security.basic-auth.edit'] = ApiError(409, ["'other' is taken"])
        self.post('/objects/basic_auth/create', {'name': 'crm', 'username': 'crm'})
        (row,) = self.api.objects['security.basic-auth']
        response = self.post(f'/objects/basic_auth/{row["id"]}', {'name': 'other', 'revision': str(row['revision'])})
        self.assertIn('is taken', response.body)
        self.assertNotIn('Both versions', response.body)

    def test_deleted_meanwhile(self) -> None:
        """What was typed into the form of an object that is gone can be saved as a new one."""
        response = self.post('/objects/basic_auth/77', {'name': 'crm', 'username': 'typed', 'revision': '1'})
        self.assertEqual(response.code, 409)
        self.assertIn('has deleted it meanwhile', response.body)
        self.assertIn('action="/objects/basic_auth/create"', response.body)
        self.assertIn('value="typed"', response.body)

    def test_several_at_once(self) -> None:
        """Selected rows are switched off, and deleted after a confirmation; one that fails does not stop the others."""
        for name in ('a', 'b', 'c'):
            self.post('/objects/basic_auth/create', {'name': name, 'username': name})
        ids = [row['id'] for row in self.api.objects['security.basic-auth']]
        self.location(self.post('/objects/basic_auth/many', {'id': ids, 'action': 'off'}))
        self.assertEqual([row['is_active'] for row in self.api.objects['security.basic-auth']], [False] * 3)
        page = self.post('/objects/basic_auth/many', {'id': ids[:2], 'action': 'delete'})
        self.assertIn('Delete these 2?', page.body)
        self.assertEqual(len(self.api.objects['security.basic-auth']), 3)
        self.post('/objects/basic_auth/many', {'id': [ids[0], 999, ids[1]], 'action': 'delete', 'confirmed': 'yes'})
        self.assertEqual([row['name'] for row in self.api.objects['security.basic-auth']], ['c'])
        page = self.get('/objects/basic_auth')
        self.assertIn('2 of 3 done. No object has the id 999', page.body)

    def test_pages(self) -> None:
        """Lists are paged, searched and sorted by the cluster, and their state is in the URL; htmx gets the rows
        only."""
        self.api.objects['security.basic-auth'] = [
            {'id': number, 'name': f'user-{number:03}', 'username': f'u{number}', 'is_active': True, 'roles': []}
            for number in range(120)]
        page = self.get('/objects/basic_auth?page=2&sort=-name').body
        self.assertIn('51–100 of 120', page)  # noqa: RUF001
        self.assertIn('user-069', page)
        self.assertIn('/objects/basic_auth?page=3&amp;sort=-name', page)
        self.assertIn('aria-sort="descending"', page)
        rows = self.get('/objects/basic_auth?query=user-119', headers={'HX-Request': 'true', 'HX-Target': 'rows'}).body
        self.assertTrue(rows.lstrip().startswith('<div id="rows">'))
        self.assertEqual(rows.count('aria-label="Select user-'), 1)

    def test_a_type_that_the_admin_does_not_know(self) -> None:
        """A new kind's type appears in the menu with list and form, with no change in the admin."""
        name = {'name': 'name', 'zato_name': 'name', 'label': 'Name', 'kind': 'text', 'is_required': True}
        toy = {'key': 'toy', 'title': 'Toy', 'heading': 'Toys', 'area': 'Channels', 'prefix': 'toy', 'fields': [
            name, {**name, 'name': 'color', 'zato_name': 'color', 'label': 'Color', 'choices': ['red', 'blue']}]}
        self.api.answers['zato.schema.get-list'] = [toy]
        self.api.answers['zato.toy.get-list'] = {'data': [{'id': 1, 'name': 'ball', 'color': 'red'}], '_meta': {
            'total': 1, 'cur_page': 1, 'num_pages': 1}}
        self.clock.advance(60)
        page = self.get('/objects/toy').body
        self.assertIn('<h1>Toys</h1>', page)
        self.assertIn('ball', page)
        self.assertIn('<option value="blue">', self.get('/objects/toy/create').body)

    def test_the_cluster_is_away(self) -> None:
        """The page says that no server answers, and how to try again."""
        self.api.answers['zato.http-soap.get-list'] = ApiError(0, ['No server of the cluster can be reached: http://a'])
        response = self.get('/objects/channel_rest')
        self.assertEqual(response.code, 503)
        self.assertIn('No server of the cluster can be reached', response.body)
        self.assertIn('Try again', response.body)
