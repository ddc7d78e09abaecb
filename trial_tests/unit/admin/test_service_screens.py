"""The screens of services, over a double of the cluster's API."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from trial_tests.unit.admin.test_application import ApplicationTestCase
from zatotx.admin.cluster_api import ApiError
from zatotx.admin.invocation_history import MAX_INVOCATIONS, MAX_SESSIONS, InvocationHistory
from zatotx.admin.screens.service_detail import select_operations
from zatotx.admin.screens.services import verdicts

ROW = {
    'id': 7, 'name': 'crm.get', 'is_active': True, 'is_internal': False, 'impl_name': 'crm.Get', 'usage': 3,
    'may_be_deleted': False, 'slow_threshold': 500, 'max_in_flight': '', 'roles': [], 'file': 'crm.py', 'version': 2,
    'revision': 4,
}  # fmt: skip
CODE = {1: 'x = 1\nprint("one")\n', 2: 'x = 1\nprint("two")\n'}
INPUT = {'type': 'object', 'properties': {'id': {'type': 'integer'}, 'pin': {'type': 'string', 'format': 'password'}},
         'required': ['id']}  # fmt: skip


def version(number: int, *, is_active: bool) -> dict[str, Any]:
    return {'id': number, 'file': 'crm.py', 'number': number, 'form': 'module', 'sha256': 'x', 'created': 1.0,
            'by': 'Ada', 'active': is_active, 'services': ['crm.get'], 'revision': number}  # fmt: skip


def source_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    content = b64encode(CODE[int(payload['number'])].encode()).decode()
    return {'file': 'crm.py', 'files': [{'path': 'crm.py', 'content': content}]}


class ServiceScreenTestCase(ApplicationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log_in()
        channel = {'id': 9, 'name': 'crm.channel', 'url_path': '/crm', 'connection': 'channel', 'method': '',
                   'transport': 'plain_http', 'object_type': 'channel_rest', 'is_active': True}  # fmt: skip
        self.api.answers |= {
            'zato.service.get-by-id': ROW, 'zato.service.get-list': [ROW],
            'zato.service.get-channel-list': [channel],
            'zato.service.get-deployment-info-list': [{'server_id': 1, 'server_name': 'server1', 'details': (
                '{"file": "crm.py", "version": 2, "deployment_time": "2026-01-01T00:00:00", "deployed_by": "Ada",'
                ' "refused": "crm.py:3: boom"}')}],
            'zato.service.has-wsdl': {'service_id': 7, 'has_wsdl': False},
            'zato.service.get-input-output': {'description': 'Reads `crm`.', 'input': INPUT, 'output': None,
                                              'components': {}, 'example': {'id': 1}},
            'zato.service.get-source-info': {
                'source': b64encode(b'import os  # <b>\n').decode(), 'source_path': '/work/crm.py',
                'server_name': 'server1', 'source_hash': 'ab' * 32, 'source_hash_method': 'SHA-256'},
            'zato.hot-deploy.get-versions': [version(1, is_active=False), version(2, is_active=True)],
            'zato.hot-deploy.get-source': source_of,
            'zato.server.get-status': [{'name': 'server1', 'is_up': True}, {'name': 'server2', 'is_up': True}],
        }  # fmt: skip


class DetailTests(ServiceScreenTestCase):
    def test_overview(self) -> None:
        """What the service declares, its channels with links, and the verdict of each server."""
        page = self.get('/services/7').body
        for expected in ('Reads <code>crm</code>.', '<td data-label="Element" class="code depth-0">id</td>',
                         'href="/objects/channel_rest/9"', 'crm.py:3: boom', 'href="/services/7/openapi.json"'):
            self.assertIn(expected, page)
        self.api.answers['zato.service.get-input-output'] = ApiError(404, ['No deployed file has crm.get'])
        self.assertEqual(self.get('/services/7').code, 200)

    def test_settings(self) -> None:
        """Settings are saved with the revision that was read; an error keeps what was typed."""
        self.api.answers['zato.service.edit'] = ROW
        form = {'slow_threshold': '800', 'max_in_flight': '', 'roles': 'a\r\nb', 'revision': '4', 'is_active': 'true'}
        self.assertEqual(self.location(self.post('/services/7', form)), '/services/7')
        self.assertEqual(self.api.called('zato.service.edit'), [{
            'id': 7, 'slow_threshold': '800', 'max_in_flight': '', 'roles': ['a', 'b'], 'revision': '4',
            'is_active': True}])  # fmt: skip
        self.api.answers['zato.service.edit'] = ApiError(400, ['$.slow_threshold: must be at least 0'])
        response = self.post('/services/7', {**form, 'slow_threshold': '-801'})
        self.assertEqual(response.code, 400)
        self.assertIn('slow_threshold: must be at least 0', response.body)
        self.assertIn('value="-801"', response.body)
        self.api.answers['zato.service.edit'] = ApiError(409, ['crm.get was changed by somebody else'])
        response = self.post('/services/7', {**form, 'revision': '3'})
        self.assertIn('<li>Slow threshold: 500 is saved, you typed 800</li>', response.body)
        self.assertIn('name="revision" value="4"', response.body)

    def test_source(self) -> None:
        """The source is shown with colors, and as text."""
        page = self.get('/services/7/source').body
        self.assertIn('<span class="py-keyword">import</span> os', page)
        self.assertIn('<span class="py-comment"># &lt;b&gt;</span>', page)
        download = self.get('/services/7/source/download')
        self.assertEqual(download.body, 'import os  # <b>\n')
        self.assertIn('crm.py', download.headers.getRawHeaders('content-disposition')[0])
        self.api.answers['zato.service.get-source-info'] = ApiError(404, ['No deployed file has crm.get'])
        self.assertIn('No deployed file has crm.get', self.get('/services/7/source').body)

    def test_openapi(self) -> None:
        """The document has the operations of the service's own channels only."""
        operation = {'operationId': 'x', 'tags': ['crm']}
        document = {'openapi': '3.1.0', 'tags': [{'name': 'crm'}, {'name': 'other'}], 'paths': {
            '/crm': {'get': operation, 'post': operation}, '/other': {'get': {**operation, 'tags': ['other']}}}}
        self.api.answers['zato.openapi.get'] = document
        self.assertIn('"/crm"', self.get('/services/7/openapi.json').body)
        self.assertNotIn('other', self.get('/services/7/openapi.json').body)
        self.assertIn('other', self.get('/services/openapi.json').body)
        channel = {'url_path': '/crm', 'method': 'POST', 'connection': 'channel', 'transport': 'plain_http'}
        self.assertEqual(list(select_operations(document, [channel])['paths']['/crm']), ['post'])

    def test_wsdl(self) -> None:
        """A WSDL is uploaded, and one that is none is rejected in place."""
        self.api.answers['zato.service.set-wsdl'] = {'id': 7, 'name': 'crm.get'}
        file = ('/services/7/wsdl', 'wsdl', 'crm.wsdl', b'<definitions/>')
        self.location(self.post_file(*file))
        (sent,) = self.api.called('zato.service.set-wsdl')
        self.assertEqual((b64decode(sent['wsdl']), sent['wsdl_name']), (b'<definitions/>', 'crm.wsdl'))
        self.api.answers['zato.service.set-wsdl'] = ApiError(400, ['$.wsdl: is no XML in UTF-8'])
        response = self.post_file(*file)
        self.assertEqual(response.code, 400)
        self.assertIn('crm.wsdl: is no XML in UTF-8', response.body)


class VersionTests(ServiceScreenTestCase):
    def test_differences(self) -> None:
        """The latest two versions are compared, or those in the URL."""
        page = self.get('/services/7/versions').body
        self.assertIn('From version 1 to version 2', page)
        self.assertIn('<td class="text">print(&#34;two&#34;)</td>', page)
        self.assertIn('The two versions are equal.', self.get('/services/7/versions?old=2&new=2').body)

    def test_rollback(self) -> None:
        """A rollback shows first what it changes, and then which servers do not run the version."""
        page = self.get('/services/7/rollback?number=1').body
        self.assertIn('replaces version 2', page)
        self.assertIn('Activate version 1', page)
        self.assertEqual(self.get('/services/7/rollback?number=9').code, 404)
        self.api.answers['zato.service.rollback'] = {'number': 1, 'file': 'crm.py', 'refused': {'server2': 'boom'},
                                                     'missing': [], 'services': []}  # fmt: skip
        self.assertEqual(self.location(self.post('/services/7/rollback', {'number': '1'})), '/services/7/versions')
        self.assertIn('Version 1 of crm.py is active. server2: boom.', self.get('/services/7/versions').body)


class UploadTests(ServiceScreenTestCase):
    def upload(self, name: str = 'crm.py') -> Any:
        return self.post_file('/services', 'file', name, b'x = 1')

    def test_verdicts(self) -> None:
        """The page says what every server makes of the file."""
        self.api.answers['zato.service.upload-package'] = {
            'id': 3, 'file': 'crm.py', 'number': 3, 'services': ['crm.get'], 'refused': {'server2': 'crm.py:1: boom'},
            'missing': []}  # fmt: skip
        response = self.upload('C:/code/crm.py')
        self.assertEqual(self.api.called('zato.service.upload-package')[0]['payload_name'], 'crm.py')
        for expected in ('Version 3 of crm.py', 'Runs it', 'crm.py:1: boom', 'href="/services/7"'):
            self.assertIn(expected, response.body)

    def test_rejected(self) -> None:
        """Every error of a file that no server takes is shown; so is a form without a file."""
        self.api.answers['zato.service.upload-package'] = ApiError(400, ['crm.py:1: one', 'crm.py:2: two'])
        response = self.upload()
        self.assertEqual(response.code, 400)
        self.assertIn('<li>crm.py:1: one</li><li>crm.py:2: two</li>', response.body)
        self.assertIn('Choose a Python file', self.post('/services', {}).body)

    def test_servers_that_are_down(self) -> None:
        """A server that is down runs the version when it starts, and one that has not reported is waited for."""
        report = {'refused': {}, 'missing': ['b'], 'number': 1}
        servers = [{'name': 'a', 'is_up': True}, {'name': 'b', 'is_up': True}, {'name': 'c', 'is_up': False}]
        found = {one.server: (one.state, one.text) for one in verdicts(report, servers)}
        self.assertEqual(found['a'], ('on', 'Runs it'))
        self.assertEqual(found['b'][0], 'mid')
        self.assertIn('when it starts', found['c'][1])


class InvokerTests(ServiceScreenTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.api.answers['zato.service.invoke'] = {'response': b64encode(b'{"a":1}').decode()}

    def sent(self) -> Any:
        """The last payload that was sent."""
        return b64decode(self.api.called('zato.service.invoke')[-1]['payload']).decode()

    def test_fields(self) -> None:
        """The form has a field for each element; what is typed is sent as values, unless there is a payload."""
        page = self.get('/services/7/invoke').body
        self.assertIn('name="in.id"', page)
        self.assertIn('placeholder="{&#34;id&#34;: 1}"', page)
        page = self.post('/services/7/invoke', {'in.id': '5', 'in.pin': 'sesame', 'payload': ' '}).body
        self.assertEqual(self.sent(), '{\n  "id": 5,\n  "pin": "sesame"\n}')
        self.assertIn('&#34;a&#34;: 1', page)
        self.assertNotIn('sesame', page)
        self.assertIn('value="5"', page)
        self.post('/services/7/invoke', {'in.id': '5', 'payload': 'raw <x/>', 'data_format': 'xml'})
        self.assertEqual((self.sent(), self.api.called('zato.service.invoke')[-1]['data_format']), ('raw <x/>', 'xml'))

    def test_errors(self) -> None:
        """What the service says about an element is beside its field."""
        self.api.answers['zato.service.invoke'] = ApiError(400, ['$.id: missing'])
        page = self.post('/services/7/invoke', {'in.id': ''}).body
        self.assertIn('<p class="error">missing</p>', page)
        self.assertIn('Failed with 400', page)

    def test_later(self) -> None:
        """An invocation may go through the queue."""
        cid = b64encode(b'abc').decode()
        self.api.answers['zato.service.invoke'] = {'response': cid, 'cid': 'abc'}
        page = self.post('/services/7/invoke', {'in.id': '5', 'async': 'true'}).body
        self.assertIs(self.api.called('zato.service.invoke')[0]['async'], True)
        self.assertIn('under the cid abc', page)

    def test_history(self) -> None:
        """The invocations of the session are listed and can be repeated; other sessions do not see them, and they end
        with the session."""
        self.post('/services/7/invoke', {'payload': '{"note": "elder", "password": "x9"}'})
        page = self.post('/services/7/invoke', {'payload': '{"note": "second"}'}).body
        self.assertLess(page.index('second'), page.index('elder'))
        self.assertNotIn('x9', page.partition('In this session')[2])
        again = self.get('/services/7/invoke?again=1').body
        self.assertIn('elder', again.partition('id="payload"')[2].partition('</textarea>')[0])
        self.post('/logout')
        self.log_in()
        self.assertIn('not invoked it yet', self.get('/services/7/invoke').body)

    def test_bounded_history(self) -> None:
        """Neither many invocations nor many sessions fill the memory."""
        history = InvocationHistory(self.clock, self.clock.seconds)
        fields: dict[str, Any] = {'service': 's', 'payload': '', 'data_format': '', 'is_ok': True,
                                  'status': 200, 'response': '', 'milliseconds': 1}  # fmt: skip
        for _ in range(MAX_INVOCATIONS + 5):
            history.add('first', **fields)
        self.assertEqual(len(history.of('first', 's')), MAX_INVOCATIONS)
        for number in range(MAX_SESSIONS):
            history.add(str(number), **fields)
        self.assertEqual((history.of('first', 's'), len(history.of('0', 's'))), ([], 1))
