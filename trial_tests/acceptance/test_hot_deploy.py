"""Hot deployment on a cluster of two servers: whole or not at all, while requests go on."""

from __future__ import annotations

import shutil
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker
from trial_tests.support.clients import loaded, statuses
from trial_tests.support.served import two_servers
from trial_tests.support.waiting import until

SERVERS = (1, 2)
_TWO_HALVES = '''
from zatotx import Service

VERSION = {version}


class Outer(Service):
    """ Half of the answer is its own, half comes through self.invoke. """
    name = 'dep.outer'

    async def handle(self):
        inner = await self.invoke('dep.inner')
        self.response.payload = f'{{VERSION}} {{inner}}'


class Inner(Service):
    name = 'dep.inner'

    async def handle(self):
        self.response.payload = str(VERSION)
'''
_ONE = '''
from zatotx import Service


class One(Service):
    name = '{name}'

    async def handle(self):
        self.response.payload = '{answer}'
'''
_CHANNEL = '''
channel_rest:
  - {name: dep.outer, url_path: /dep/outer, service: dep.outer, security: null}
'''


def one(name: str, answer: str) -> str:
    """A module with one service that always answers the same."""
    return _ONE.format(name=name, answer=answer)


class DeployTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker: Broker = two_servers()

    def answers(self, service: str) -> list[str]:
        """What each server's service of that name answers now."""
        return [self.broker.invoke(service, server=server).body.decode() for server in SERVERS]

    def refused(self, name: str, source: str, *parts: str) -> str:
        """The sentence with which `hot-deploy` refuses that module: exit code 1, no traceback, each part in it."""
        said = self.broker.deploy(self.broker.write(name, source))
        self.assertEqual(said.code, 1, said.text)
        self.assertNotIn('Traceback', said.text)
        for part in (name, *parts):
            self.assertIn(part, said.text)
        return said.text


class DeployUnderLoadTests(DeployTests):
    def test_twenty_deploys_fail_no_request_and_mix_no_answer(self) -> None:
        """Under load on both servers: each answer is of one version, none fails, and none is older than the version
        that was everywhere when it was asked."""
        self.broker.serve('dep.py', _TWO_HALVES.format(version=0))
        self.broker.configure(_CHANNEL)
        with loaded(self.broker.port(1), 'GET', '/dep/outer', clients=3) as first, \
                loaded(self.broker.port(2), 'GET', '/dep/outer', clients=3) as second:
            for version in range(1, 21):
                self.broker.serve('dep.py', _TWO_HALVES.format(version=version))
                self.assertEqual(self.answers('dep.outer'), [f'{version} {version}'] * 2)
        for load in (first, second):
            self.assertEqual(set(statuses(load.seen)), {'200'})
            self.assertGreater(len(load.seen), 200)
            halves = {tuple(one.answer.body.decode().split()) for one in load.seen if one.answer}
            self.assertEqual([pair for pair in halves if pair[0] != pair[1]], [])
            self.assertGreater(len(halves), 10)


class RefusalTests(DeployTests):
    """What is refused leaves the old version serving and says why, in one sentence with file and line."""

    def test_a_syntax_error_names_its_line(self) -> None:
        """The old version serves on."""
        self.broker.serve('ref.py', one('ref.syntax', 'old'))
        self.refused('ref.py', one('ref.syntax', 'new') + '\n\nthis is not python\n', '12')
        self.assertEqual(self.answers('ref.syntax'), ['old', 'old'])

    def test_an_error_at_import_names_its_line(self) -> None:
        """Whatever the module raises while it is imported."""
        self.refused('bad_import.py', '\n\n1 / 0\n' + one('ref.import', 'x'), '3', 'ZeroDivisionError')
        self.assertEqual(self.broker.invoke('ref.import').status, 404)

    def test_exiting_at_import_is_a_refusal(self) -> None:
        """sys.exit and its like end no server."""
        self.refused('exits_import.py', 'import sys\nsys.exit(3)\n' + one('ref.exits', 'x'), '2')
        self.assertEqual(self.broker.ask('GET', '/zato/ping').status, 200)

    def test_a_missing_module_is_named(self) -> None:
        """An import that does not resolve."""
        self.refused('needs.py', 'import no_such_module_here\n' + one('ref.needs', 'x'), 'no_such_module_here')

    def test_a_module_without_services_is_refused(self) -> None:
        """Deploying it would change nothing: surely a mistake."""
        self.refused('nothing.py', 'X = 1\n')

    def test_one_name_twice_in_a_file_is_refused(self) -> None:
        """Which of the two would serve?"""
        self.refused('twice.py', one('ref.twice', 'a') + one('ref.twice', 'b').replace('One', 'Two'), 'ref.twice')
        self.assertEqual(self.broker.invoke('ref.twice').status, 404)

    def test_a_name_of_another_file_is_refused(self) -> None:
        """The owner keeps it, on every node."""
        self.broker.serve('owner.py', one('ref.owned', 'owner'))
        self.refused('thief.py', one('ref.owned', 'thief'), 'ref.owned', 'owner.py')
        self.assertEqual(self.answers('ref.owned'), ['owner', 'owner'])

    def test_a_name_of_the_brokers_own_is_refused(self) -> None:
        """zato.* stays the broker's."""
        self.refused('shadow.py', one('zato.ping', 'mine'), 'zato.ping')
        self.assertEqual(self.broker.ask('GET', '/zato/ping').json()['zato_ping_response'], {'pong': 'zato'})

    def test_a_service_without_handle_is_refused(self) -> None:
        """It could never answer."""
        source = 'from zatotx import Service\n\n\nclass Idle(Service):\n    name = "ref.idle"\n'
        self.refused('idle.py', source, 'ref.idle')

    def test_a_file_that_is_not_there_is_named(self) -> None:
        """Exit code 1 or 2, and its path."""
        said = self.broker.deploy(Path('/nowhere/at_all.py'))
        self.assertIn(said.code, (1, 2))
        self.assertIn('/nowhere/at_all.py', said.text)
        self.assertNotIn('Traceback', said.text)


class RollbackTests(DeployTests):
    def test_rollback_brings_any_kept_version_back(self) -> None:
        """The one before, or the one asked for, on every node when the command returns."""
        for answer in ('first', 'second', 'third'):
            self.broker.serve('back.py', one('back.one', answer))
        self.broker.must('service', 'rollback', str(self.broker.path), 'back.one')
        self.assertEqual(self.answers('back.one'), ['second', 'second'])
        self.broker.must('service', 'rollback', str(self.broker.path), 'back.one', '--to', '1')
        self.assertEqual(self.answers('back.one'), ['first', 'first'])
        said = self.broker.run('service', 'rollback', str(self.broker.path), 'back.one', '--to', '99')
        self.assertEqual(said.code, 1, said.text)
        self.assertEqual(self.answers('back.one'), ['first', 'first'])

    def test_rollback_of_an_unknown_name_is_refused(self) -> None:
        """Named, exit code 1."""
        said = self.broker.run('service', 'rollback', str(self.broker.path), 'back.unknown')
        self.assertEqual(said.code, 1)
        self.assertIn('back.unknown', said.text)


class PickupTests(DeployTests):
    """Files dropped into any server's pickup directory are deployed cluster-wide."""

    def drop(self, name: str, source: str, server: int) -> None:
        """As editors and rsync do: written beside, moved in whole."""
        file = self.broker.write(name, source)
        shutil.copy(file, self.broker.directory(server) / 'pickup' / 'incoming' / 'services' / name)

    def test_a_dropped_file_runs_everywhere_within_two_seconds(self) -> None:
        """Whichever server it was dropped at."""
        for server in SERVERS:
            self.drop('drop.py', one('drop.one', f'from {server}'), server)
            wanted = [f'from {server}'] * 2
            until(lambda wanted=wanted: self.answers('drop.one') == wanted, f'{wanted} everywhere')  # type: ignore[misc]

    def test_a_dropped_file_that_is_bad_is_named_in_the_log(self) -> None:
        """The refusal stands in that server's logs, with file and line; the old version serves."""
        self.drop('drop_bad.py', one('drop.bad', 'good'), 2)
        until(lambda: self.answers('drop.bad') == ['good'] * 2, 'the good version')
        self.drop('drop_bad.py', 'def broken(:\n', 2)
        self.broker.logged('drop_bad.py', '1', 'invalid syntax', server=2)
        self.assertEqual(self.answers('drop.bad'), ['good'] * 2)

    def test_a_package_is_deployed_whole(self) -> None:
        """A directory with modules that import each other."""
        package = self.broker.path.parent / 'input' / 'dep_package'
        package.mkdir(parents=True)
        (package / '__init__.py').write_text('')
        (package / 'words.py').write_text('WORD = "packed"\n')
        source = one('pack.one', '{WORD}').replace("'{WORD}'", 'WORD')
        (package / 'services.py').write_text('from dep_package.words import WORD\n' + source)
        self.assertEqual(self.broker.deploy(package).code, 0)
        self.assertEqual(self.answers('pack.one'), ['packed', 'packed'])


class RestartTests(DeployTests):
    def test_a_server_that_was_down_comes_up_with_the_newest(self) -> None:
        """Whatever lies in its pickup directory."""
        self.broker.serve('down.py', one('down.one', 'old'))
        stale = self.broker.directory(2) / 'pickup' / 'incoming' / 'services' / 'down.py'
        shutil.copy(self.broker.write('down.py', one('down.one', 'old')), stale)
        self.broker.must('stop', str(self.broker.directory(2)))
        self.broker.serve('down.py', one('down.one', 'new'))
        self.broker.must('start', str(self.broker.directory(2)))
        self.assertEqual(self.answers('down.one'), ['new', 'new'])

    def test_classic_services_of_zato_run_unchanged(self) -> None:
        """Plain `def`, `from zato.server.service import Service`, SimpleIO, a name made of file and class."""
        self.broker.serve('my_api.py', '''
            from zato.server.service import Service

            class GetClientDetails(Service):
                class SimpleIO:
                    input_required = ('cust_id',)
                    output_required = ('name',)

                def handle(self):
                    self.logger.info('Request: {}'.format(self.request.payload))
                    self.response.payload.name = 'Client ' + str(self.request.input.cust_id)
        ''')
        answer = self.broker.invoke('my-api.get-client-details', b'{"cust_id": 17}')
        self.assertEqual((answer.status, answer.json()), (200, {'response': {'name': 'Client 17'}}))
