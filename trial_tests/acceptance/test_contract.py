"""The outside of a server, line by line as the contract states it."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker
from trial_tests.support.rawhttp import Answer, basic, connected, request_bytes
from trial_tests.support.served import PASSWORD, USER, one_server
from trial_tests.support.waiting import until

JSON = {'Content-Type': 'application/json'}
_CID = re.compile(r'[0-9a-f]{24}')


class ContractTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker: Broker = one_server()

    def echo(self, body: bytes = b'{"a": 1}', **fields: str) -> Answer:
        named = {name.replace('_', '-'): value for name, value in fields.items()}
        return self.broker.ask('POST', '/acc/echo', fields={**JSON, **named}, body=body)

    def call(self, internal: str, **payload: object) -> Any:
        """The response of an internal service through the administrator's door, without zato_env."""
        answer = self.broker.invoke(internal, json.dumps(payload).encode())
        self.assertEqual(answer.status, 200, answer.body)
        found = answer.json()
        self.assertEqual(found.pop('zato_env')['result'], 'ZATO_OK')
        (value,) = found.values() or ({},)
        return value


class DoorTests(ContractTests):
    def test_ping(self) -> None:
        """Open, in Zato's very form."""
        answer = self.broker.ask('GET', '/zato/ping')
        self.assertEqual(answer.status, 200)
        found = answer.json()
        self.assertEqual(found, {
            'zato_env': {'details': '', 'result': 'ZATO_OK', 'cid': answer.field('x-zato-cid')},
            'zato_ping_response': {'pong': 'zato'},
        })

    def test_live_and_ready(self) -> None:
        """Open; 200 while the server takes requests."""
        for path in ('/zato/live', '/zato/ready'):
            self.assertEqual(self.broker.ask('GET', path).status, 200, path)

    def test_metrics_are_the_administrators(self) -> None:
        """Prometheus text, behind Basic admin.invoke."""
        self.assertEqual(self.broker.ask('GET', '/zato/metrics').status, 401)
        answer = self.broker.ask('GET', '/zato/metrics', fields=self.broker.admin())
        self.assertEqual(answer.status, 200)
        self.assertIn(b'# TYPE ', answer.body)

    def test_api_invoke(self) -> None:
        """Body = payload, answer = the service's response; only for the administrator."""
        answer = self.broker.invoke('acc.echo', b'{"x": [1, "two", null]}')
        self.assertEqual((answer.status, answer.json()), (200, {'x': [1, 'two', None]}))
        for fields in ({}, self.broker.pubapi(), basic('admin.invoke', 'wrong')):
            answer = self.broker.ask('POST', '/zato/api/invoke/acc.echo', fields=fields, body=b'{}')
            self.assertEqual(answer.status, 401)
            self.assertTrue(answer.field('www-authenticate').startswith('Basic realm='))

    def test_json_door_is_pubapis_and_internal_only(self) -> None:
        """/zato/json/{service} leads to zato.* services."""
        answer = self.broker.ask('POST', '/zato/json/zato.ping', fields=self.broker.pubapi(), body=b'{}')
        self.assertEqual((answer.status, answer.json()['zato_ping_response']), (200, {'pong': 'zato'}))
        self.assertEqual(self.broker.ask('POST', '/zato/json/zato.ping', body=b'').status, 401)
        answer = self.broker.ask('POST', '/zato/json/acc.echo', fields=self.broker.pubapi(), body=b'{}')
        self.assertIn(answer.status, (403, 404))

    def test_doors_take_any_method_and_read_the_body(self) -> None:
        """As Zato's do."""
        for method in ('GET', 'POST', 'PUT', 'DELETE', 'PATCH'):
            fields = {**self.broker.admin(), 'Content-Length': '8'}
            answer = self.broker.ask(method, '/zato/api/invoke/acc.echo', fields=fields, body=b'{"a": 1}')
            self.assertEqual((answer.status, answer.json()), (200, {'a': 1}), method)

    def test_list_is_in_zatos_wire_form(self) -> None:
        """zato_env beside the response element named after the service; integers as integers; ordered by name."""
        request = json.dumps({'cluster_id': '1', 'connection': 'channel', 'transport': 'plain_http'}).encode()
        answer = self.broker.invoke('zato.http-soap.get-list', request)
        found = answer.json()
        self.assertEqual(found['zato_env'], {'result': 'ZATO_OK', 'cid': answer.field('x-zato-cid'), 'details': ''})
        rows = found['zato_http_soap_get_list_response']
        names = [row['name'] for row in rows]
        self.assertEqual(names, sorted(names))
        self.assertIn('acc.echo', names)
        self.assertTrue(all(isinstance(row['id'], int) for row in rows))

    def test_create_edit_delete_through_the_api_is_live_within_a_second(self) -> None:
        """Values as text, ZATO_NONE for open, unknown fields ignored."""
        made = self.call(
            'zato.http-soap.create', cluster_id='1', name='api.made', is_active='true', connection='channel',
            transport='plain_http', is_internal='false', url_path='/api/made', service='acc.echo',
            security_id='ZATO_NONE', method='', data_format='json', what_is_this='nobody knows')
        self.assertIsInstance(made['id'], int)
        until(lambda: self.broker.ask('POST', '/api/made', fields=JSON, body=b'{}').status == 200, 'the channel')
        self.call('zato.http-soap.delete', id=str(made['id']))
        until(lambda: self.broker.ask('POST', '/api/made', fields=JSON, body=b'{}').status == 404, 'its end')

    def test_a_name_that_is_taken_is_409(self) -> None:
        """Named; names are told apart exactly."""
        fields = {'cluster_id': 1, 'is_active': True, 'username': 'taken', 'realm': 'r'}
        self.call('zato.security.basic-auth.create', name='taken', **fields)
        answer = self.broker.invoke('zato.security.basic-auth.create', json.dumps({'name': 'taken', **fields}).encode())
        self.assertEqual(answer.status, 409, answer.body)
        self.assertIn('taken', answer.details)
        for name in ('Taken', 'täken', 'taken\N{FOX FACE}'):
            self.call('zato.security.basic-auth.create', name=name, **{**fields, 'username': name})

    def test_no_answer_holds_a_secret(self) -> None:
        """Passwords, hashes: not in lists."""
        answer = self.broker.invoke('zato.security.basic-auth.get-list', b'{"cluster_id": 1}')
        self.assertNotIn('argon2', answer.body.decode())
        self.assertNotIn(PASSWORD, answer.body.decode())


class ErrorTests(ContractTests):
    def test_errors_are_in_zatos_form(self) -> None:
        """zato_env with result, cid and details, as JSON, for 404 too."""
        answer = self.broker.ask('GET', '/nowhere')
        self.assertEqual(answer.status, 404)
        self.assertEqual(answer.json()['zato_env']['result'], 'ZATO_ERROR')
        self.assertEqual(answer.json()['zato_env']['cid'], answer.field('x-zato-cid'))
        self.assertTrue(answer.details)

    def test_a_wrong_method_is_405_with_allow(self) -> None:
        """Allow names what there is."""
        answer = self.broker.ask('DELETE', '/acc/echo')
        self.assertEqual((answer.status, answer.field('allow')), (405, 'POST'))

    def test_malformed_json_is_400(self) -> None:
        """And the connection lives on."""
        with connected(self.broker.port()) as connection:
            for body, status in ((b'{"a":', 400), (b'{"a": 1}', 200)):
                connection.send(request_bytes('POST', '/acc/echo', JSON, body))
                self.assertEqual(connection.answer().status, status)

    def test_bad_framing_is_400_and_closes(self) -> None:
        """Content-Length beside Transfer-Encoding: one 400, nothing of it reaches a service."""
        data = (b'POST /acc/echo HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n'
                b'0\r\n\r\nPOST /acc/echo HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}')
        with connected(self.broker.port()) as connection:
            connection.send(data)
            self.assertEqual(connection.answer().status, 400)
            self.assertTrue(connection.is_closed())


class AnswerTests(ContractTests):
    def test_every_answer_carries_a_cid(self) -> None:
        """24 hex digits, its own each time."""
        cids = [self.echo().field('x-zato-cid') for _ in range(3)]
        self.assertEqual(len(set(cids)), 3)
        for cid in cids:
            self.assertTrue(_CID.fullmatch(cid), cid)

    def test_a_safe_cid_is_kept(self) -> None:
        """8 to 64 letters, digits, `-`, `_`, `.`; anything else is replaced."""
        for kept in ('12345678', 'a-b_c.D9', 'x' * 64):
            self.assertEqual(self.echo(X_Zato_CID=kept).field('x-zato-cid'), kept)
        for replaced in ('1234567', 'x' * 65, 'with space', '<script>', 'ünïcödé1'):
            self.assertTrue(_CID.fullmatch(self.echo(X_Zato_CID=replaced).field('x-zato-cid')), replaced)

    def test_the_deadline_of_the_caller_counts(self) -> None:
        """X-Zato-Deadline-Ms: 504 past it."""
        fields = {**JSON, 'X-Zato-Deadline-Ms': '200'}
        answer = self.broker.ask('POST', '/acc/hangs', fields=fields, body=b'{}')
        self.assertEqual((answer.status, answer.json()['zato_env']['result']), (504, 'ZATO_ERROR'))

    def test_security_of_a_channel(self) -> None:
        """401 with a challenge without, 200 with the right Basic credentials, UTF-8."""
        answer = self.broker.ask('POST', '/acc/secure', fields=JSON, body=b'{}')
        self.assertEqual(answer.status, 401)
        self.assertIn('Basic realm="API"', answer.field('www-authenticate'))
        answer = self.broker.ask('POST', '/acc/secure', fields={**JSON, **basic(USER, PASSWORD)}, body=b'{}')
        self.assertEqual(answer.status, 200)

    def test_without_a_data_format_bytes_come_and_go_unchanged(self) -> None:
        """No decoding of what nobody declared."""
        answer = self.broker.ask('POST', '/acc/raw', body=bytes(range(256)))
        self.assertEqual((answer.status, answer.body), (200, b'256'))

    def test_path_query_and_form_become_input(self) -> None:
        """Each converted by name and type."""
        self.assertEqual(self.broker.ask('GET', '/acc/hello/Anna').json(), {'text': 'Hello Anna'})
        self.assertEqual(self.broker.ask('GET', '/acc/typed?qty=3&name=x').json(), {'qty': 3, 'name': 'x'})
        form = {'Content-Type': 'application/x-www-form-urlencoded'}
        answer = self.broker.ask('POST', '/acc/form', fields=form, body=b'qty=4&name=a+b%C3%A9')
        self.assertEqual(answer.status, 200, answer.body)
        answer = self.broker.ask('POST', '/acc/echo', fields=form, body=b'{"sent": "by curl -d"}')
        self.assertEqual(answer.json(), {'sent': 'by curl -d'})

    def test_head_is_get_without_its_body(self) -> None:
        """Same status and length, no body: the next answer begins right after the head."""
        with connected(self.broker.port()) as connection:
            connection.send(request_bytes('HEAD', '/zato/ping') + request_bytes('GET', '/zato/ping'))
            head, whole = connection.answer(method='HEAD'), connection.answer()
            self.assertEqual((head.status, whole.status), (200, 200))
            self.assertEqual(head.field('content-length'), str(len(whole.body)))

    def test_pipelined_requests_are_answered_in_order(self) -> None:
        """Slow ones first."""
        fields = {'X-Zato-Deadline-Ms': '300', 'X-Zato-CID': 'pipe-000'}
        slow = request_bytes('POST', '/acc/hangs', fields, b'{}')
        quick = [request_bytes('POST', '/acc/echo', {'X-Zato-CID': f'pipe-{n:03}'}, b'{}') for n in range(1, 50)]
        with connected(self.broker.port()) as connection:
            connection.send(slow + b''.join(quick))
            cids = [connection.answer().field('x-zato-cid') for _ in range(50)]
        self.assertEqual(cids, [f'pipe-{n:03}' for n in range(50)])

    def test_continue_is_said_once_the_head_is_admitted(self) -> None:
        """100 for whom the channel lets in; for the others the final answer at once, before any body."""
        fields = {**JSON, 'Expect': '100-continue', 'Content-Length': '2'}
        with connected(self.broker.port()) as connection:
            connection.send(request_bytes('POST', '/acc/secure', {**fields, **basic(USER, PASSWORD)}))
            self.assertEqual(connection.any_answer().status, 100)
            connection.send(b'{}')
            self.assertEqual(connection.answer().status, 200)
        for target, status in (('/acc/secure', 401), ('/nowhere', 404)):
            with connected(self.broker.port()) as connection:
                connection.send(request_bytes('POST', target, fields))
                self.assertEqual(connection.any_answer().status, status)

    def test_http_1_0(self) -> None:
        """Closes after one answer, or keeps alive where asked to."""
        with connected(self.broker.port()) as connection:
            connection.send(b'GET /zato/ping HTTP/1.0\r\n\r\n')
            self.assertEqual(connection.answer().status, 200)
            self.assertTrue(connection.is_closed())
        with connected(self.broker.port()) as connection:
            for _ in range(2):
                connection.send(b'GET /zato/ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n')
                self.assertEqual(connection.answer().field('connection').lower(), 'keep-alive')


class ObservationTests(ContractTests):
    def test_the_access_log_has_a_line_a_request(self) -> None:
        """cid, method, path as sent, status, within 5 s."""
        self.broker.ask('GET', '/acc/hello/%41nna?x=%20y', fields={'X-Zato-CID': 'access.log.1'})
        self.broker.logged('access.log.1', 'GET', '/acc/hello/%41nna?x=%20y', '200')
        self.broker.ask('GET', '/nowhere/at/all', fields={'X-Zato-CID': 'access.log.2'})
        self.broker.logged('access.log.2', '/nowhere/at/all', '404')

    def test_metrics_count_calls_and_errors_exactly(self) -> None:
        """Per service, errors included, within a second."""
        def counted(what: str) -> float:
            text = self.broker.ask('GET', '/zato/metrics', fields=self.broker.admin()).body.decode()
            start = f'zatotx_service_{what}_total{{service="acc.says-why"}} '
            return sum(float(line.removeprefix(start)) for line in text.splitlines() if line.startswith(start))

        calls, errors = counted('calls'), counted('errors')
        for _ in range(7):
            self.broker.ask('POST', '/acc/says-why', fields=JSON, body=b'{}')
        until(lambda: (counted('calls') - calls, counted('errors') - errors) == (7, 7), 'seven of each')

    def test_secrets_stand_in_no_log_and_no_process_list(self) -> None:
        """After all that this environment went through."""
        passwords = [PASSWORD, *(str(self.broker.credentials()[part]['password']) for part in ('api', 'pubapi'))]
        command_lines = ''.join(_command_line(entry) for entry in Path('/proc').iterdir() if entry.name.isdigit())
        for password in passwords:
            self.assertNotIn(password, self.broker.log())
            self.assertNotIn(password, command_lines)

    def test_files_with_secrets_are_closed_to_others(self) -> None:
        """credentials.toml, the key, the ODB, Redis: whatever the umask."""
        closed = [self.broker.path / 'credentials.toml', self.broker.directory() / 'config' / 'secret.key',
                  self.broker.path / 'odb', self.broker.path / 'redis']
        for path in closed:
            self.assertEqual(stat.S_IMODE(path.stat().st_mode) & 0o077, 0, path)

    def test_info_and_status_speak_json(self) -> None:
        """info names the kinds; status every part."""
        info = json.loads(self.broker.must('info', str(self.broker.path), '--format', 'json'))
        self.assertEqual(info['kinds']['http']['enabled'], True)
        status = self.broker.must('status', str(self.broker.path), '--format', 'json')
        self.assertIn('server1', status)

    def test_service_list_and_invoke(self) -> None:
        """Through the running server."""
        self.assertIn('acc.echo', self.broker.must('service', 'list', str(self.broker.path)))
        out = self.broker.must('service', 'invoke', str(self.broker.path), 'acc.echo', '--payload', '{"a": [1]}')
        self.assertEqual(json.loads(out), {'a': [1]})
        said = self.broker.run('service', 'invoke', str(self.broker.path), 'no.such')
        self.assertEqual(said.code, 1)
        self.assertIn('no.such', said.text)
        self.assertNotIn('Traceback', said.text)


def _command_line(entry: Path) -> str:
    try:
        return (entry / 'cmdline').read_bytes().decode(errors='replace')
    except OSError:
        return ''
