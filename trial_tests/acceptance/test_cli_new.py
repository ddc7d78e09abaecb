"""`zatotx new service`: what it writes passes its test, is deployed and answers as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.command import sentences, zatotx
from trial_tests.support.served import one_server
from zatotx.cli.new_service import parse_name

WAYS = [(io, way) for io in ('short', 'simple', 'typed') for way in ('async', 'sync')]


class NewServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.place = Path(self.mktemp()).resolve()

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.place)) for path in self.place.rglob('*') if path.is_file())

    def make(self, name: str, *options: str) -> str:
        said = zatotx('new', 'service', name, '--dir', self.place, *options)
        self.assertEqual((said.code, said.err), (0, ''))
        return said.out

    def test_files_and_what_to_do_next(self) -> None:
        """A service, a test and a channel, and the commands for each, which name them."""
        said = self.make('crm.get-balance')
        written = ['channels/crm_get_balance.yaml', 'services/crm_get_balance.py', 'tests/test_crm_get_balance.py']
        self.assertEqual(self.files(), written)
        for file in written:
            self.assertIn(f'Wrote {self.place / file}\n', said)
        self.assertIn(f'Test it     trial {self.place}/tests/test_crm_get_balance.py', said)
        self.assertIn(f'Deploy it   zatotx hot-deploy PATH {self.place}/services/crm_get_balance.py', said)
        self.assertIn(f'Expose it   zatotx enmasse PATH --import --input {self.place}/channels', said)
        self.assertIn('Call it     curl http://127.0.0.1:17010/crm/get-balance', said)

    def test_its_test_passes(self) -> None:
        """Under pytest and under trial, for every way to write a service."""
        for io, way in WAYS:
            self.make(f'kit.{io}-{way}', '--io', io, f'--{way}')
        tests = [str(path) for path in sorted((self.place / 'tests').iterdir())]
        for words, verdict in ((['pytest', '-q', '-p', 'no:cacheprovider'], '18 passed'),
                               (['twisted.trial'], 'PASSED (successes=18)')):
            done = subprocess.run([sys.executable, '-m', *words, *tests], cwd=self.place, capture_output=True,
                                  text=True, timeout=120)
            self.assertIn(verdict, done.stdout, done.stdout + done.stderr)

    def test_it_serves(self) -> None:
        """Deployed and imported as the printed commands do it, it answers."""
        broker = one_server()
        for io, way in WAYS:
            self.make(f'kit.{io}-{way}', '--io', io, f'--{way}')
        self.assertEqual(broker.deploy(*sorted((self.place / 'services').glob('*.py'))).code, 0)
        for io, way in WAYS:
            broker.configure((self.place / 'channels' / f'kit_{io}_{way}.yaml').read_text('utf-8'))
            answer = broker.ask('POST', f'/kit/{io}-{way}', body=b'{"name": "Ada"}')
            value = json.loads(answer.body)
            self.assertEqual(value.get('response', value), {'greeting': 'Hello Ada!'})

    def test_nothing_is_overwritten(self) -> None:
        """One file that is there is enough: nothing is written, and it is named."""
        (self.place / 'tests').mkdir(parents=True)
        mine = self.place / 'tests' / 'test_crm_get.py'
        mine.write_text('mine')
        said = zatotx('new', 'service', 'crm.get', '--dir', self.place)
        self.assertEqual((said.code, said.out), (1, ''))
        self.assertIn(f'{mine} exists already: nothing was written.', said.err)
        self.assertEqual((self.files(), mine.read_text()), (['tests/test_crm_get.py'], 'mine'))

    def test_a_place_that_cannot_be_written(self) -> None:
        """What was written before the mistake is taken away; the sentence names the place."""
        self.place.mkdir()
        (self.place / 'channels').write_text('a file where a directory has to be')
        said = zatotx('new', 'service', 'crm.get', '--dir', self.place)
        self.assertEqual((said.code, said.out), (1, ''))
        self.assertIn(str(self.place / 'channels'), said.err)
        self.assertEqual(self.files(), ['channels'])

    def test_bad_names(self) -> None:
        """Exit 2 and a sentence with the rule; with a name that would do, where one can be made of it."""
        for name, better in (('GetBalance', "Try 'get-balance'"), ('crm/Get Balance', "Try 'crm.get-balance'"),
                             ('getHTTPStatus', "Try 'get-http-status'"), ('ž', 'beginning with a letter'),
                             ('', 'beginning with a letter'), ('a..b', "Try 'a.b'"), ('-x', 'No such option')):
            said = zatotx('new', 'service', name, '--dir', self.place)
            self.assertEqual((said.code, len(sentences(said.err))), (2, 1), name)
            self.assertIn(better, said.err)
        for name, why in (('zato.x', 'is reserved'), ('test.x', 'test runners'), ('a' * 101, 'the maximum is 100')):
            self.assertIn(why, zatotx('new', 'service', name).err)
        self.assertFalse(self.place.exists())

    def test_classes(self) -> None:
        """A class is named after the last part, and never hides what the file needs or is no identifier."""
        found = {name: parse_name(name).cls for name in ('crm.get-balance', 'none', 'service', 'a.int', 'v1.2', 'a_b')}
        self.assertEqual(found, {'crm.get-balance': 'GetBalance', 'none': 'NoneService', 'service': 'ServiceService',
                                 'a.int': 'IntService', 'v1.2': 'Service2', 'a_b': 'AB'})
