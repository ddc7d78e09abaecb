"""Completion in a real bash: what may stand where the cursor is."""

from __future__ import annotations

import os
import pty
import select
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import SCRIPTS, Broker
from trial_tests.support.command import zatotx
from trial_tests.support.served import one_server
from trial_tests.support.waiting import until
from zatotx.cli import completion_values
from zatotx.cli.environment import cluster_client
from zatotx.cli.main import COMMANDS

# What bash does when TAB is hit: the function of the script is called with the words typed so far.
ASK = """
source {script}
compopt() {{ echo "compopt $*"; }}
COMP_WORDS=({words}) COMP_CWORD={cursor}
_zatotx_completion zatotx
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
SERVICES = """
from zatotx import Service

class One(Service):
    name = 'crm.one'

    async def handle(self):
        pass

class Two(Service):
    name = 'crm.two'

    async def handle(self):
        pass
"""


def extend(broker: Broker) -> None:
    broker.serve('crm.py', SERVICES)


class Shell:
    """Bash with the completion of zatotx."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()
        self.script = place / 'completion.bash'
        self.script.write_text(zatotx('completion', 'bash').out)
        self.env = {**os.environ, 'PATH': f'{SCRIPTS}:{os.environ["PATH"]}'}

    def offers(self, *words: str) -> list[str]:
        """What TAB offers behind these words, the last of which is only begun."""
        text = ASK.format(script=shlex.quote(str(self.script)), words=' '.join(map(shlex.quote, ('zatotx', *words))),
                          cursor=len(words))
        done = subprocess.run(['bash', '--norc', '--noprofile', '-c', text], capture_output=True, text=True,
                              timeout=60, env=self.env, cwd=self.place)
        assert (done.returncode, done.stderr) == (0, ''), done.stderr
        return done.stdout.split()


class BashTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.shell = Shell(Path(self.mktemp()).resolve())
        self.offers: Callable[..., list[str]] = self.shell.offers

    def environment(self) -> Path:
        """A stopped one, as far as completion looks at it."""
        place = self.shell.place / 'qs'
        for part in ('server1', 'server2', 'redis'):
            (place / part).mkdir(parents=True)
            kind = 'REDIS' if part == 'redis' else 'SERVER'
            (place / part / '.zato-info').write_text(f'{{"component": "{kind}"}}')
        (place / 'odb').mkdir()
        (place / 'credentials.toml').write_text('[api]\nusername = "admin.invoke"\npassword = "x"\n'
                                                '[pubapi]\nusername = "pubapi"\npassword = "y"\n[ports]\nserver1 = 1\n')
        return place

    def test_commands_and_options(self) -> None:
        """Of every level; all commands where nothing is begun."""
        self.assertEqual(self.offers('sta'), ['start', 'status'])
        self.assertEqual(self.offers('service', 'in'), ['invoke'])
        self.assertEqual(self.offers('new', ''), ['service'])
        self.assertEqual(set(self.offers('')), set(COMMANDS))
        self.assertEqual(self.offers('start', '--f'), ['--fg'])
        self.assertEqual(self.offers('--ver'), ['--version'])

    def test_values_of_options(self) -> None:
        """The choices of one that has some; files where a file is meant."""
        self.assertEqual(self.offers('info', 'x', '--format', ''), ['text', 'json'])
        self.assertEqual(self.offers('completion', ''), ['bash', 'fish', 'zsh'])
        self.assertEqual(self.offers('enmasse', 'x', '--input', ''), ['compopt', '-o', 'default'])

    def test_parts_of_an_environment(self) -> None:
        """Directories lead to an environment; in it there are its parts, and nothing else."""
        place = self.environment()
        self.assertEqual(self.offers('start', str(place.parent) + '/'), ['compopt', '-o', 'dirnames'])
        parts = [f'{place}/{part}' for part in ('redis', 'server1', 'server2')]
        self.assertEqual(self.offers('start', f'{place}/'), parts)
        self.assertEqual(self.offers('start', 'qs/s'), ['qs/server1', 'qs/server2'])
        self.assertEqual(self.offers('start', f'{place}/nothing'), [])

    def test_users(self) -> None:
        """Of credentials.toml."""
        place = self.environment()
        self.assertEqual(self.patiently('update', 'password', str(place), ''), ['admin.invoke', 'pubapi'])
        self.assertEqual(self.offers('update', 'password', '/no/where', ''), [])

    def test_services_of_a_running_server(self) -> None:
        """Those of the users; the broker's own once they are begun."""
        broker = one_server().extend('completion', extend)
        self.assertEqual(self.patiently('service', 'invoke', str(broker.path), 'crm'), ['crm.one', 'crm.two'])
        self.assertEqual(self.patiently('service', 'rollback', str(broker.path), 'crm.t'), ['crm.two'])
        self.assertIn('zato.ping', self.patiently('service', 'invoke', str(broker.path), 'zato.p'))

    def patiently(self, *words: str) -> list[str]:
        """What is offered once it is quick enough: a busy machine may need longer than a person waits, and nothing is
        offered then."""
        return until(lambda: self.offers(*words), f'offers for {words}')

    def test_a_server_that_is_silent(self) -> None:
        """Takes the connection and says nothing: the prompt is back at once, with nothing."""
        place = self.environment()
        with socket.create_server(('127.0.0.1', 0)) as silent:
            for part in ('server1', 'server2'):
                (place / part / 'config').mkdir()
                (place / part / 'config' / 'server.toml').write_text(
                    f'[http]\nlisten = ["tcp:port={silent.getsockname()[1]}:interface=127.0.0.1"]\n'
                )
            self.patch(cluster_client, 'SLACK', 600.0)  # what the call itself would wait
            context = click.Context(click.Command('invoke'))
            context.params['path'] = str(place)
            began = time.monotonic()
            self.assertEqual(completion_values.complete_services(context, click.Argument(['name']), ''), [])
            self.assertLess(time.monotonic() - began, 60)


class PromptTests(SynchronousTestCase):
    """Shells at a terminal of their own, in which TAB is hit."""

    def setUp(self) -> None:
        self.shell = Shell(Path(self.mktemp()).resolve())

    def prompt(self, *words: str) -> Terminal:
        """The terminal of a shell that is ready."""
        ours, its = pty.openpty()
        shell = subprocess.Popen(words, stdin=its, stdout=its, stderr=its, start_new_session=True,
                                 env={**self.shell.env, 'PS1': 'ready> ', 'TERM': 'dumb'})
        os.close(its)
        self.addCleanup(os.close, ours)
        self.addCleanup(shell.wait)
        self.addCleanup(shell.kill)
        terminal = Terminal(ours)
        terminal.shows('ready> ')
        return terminal

    def test_bash(self) -> None:
        """The word is completed; two TABs more show what may follow."""
        terminal = self.prompt('bash', '--norc', '--noprofile', '-i')
        terminal.types(f'source {shlex.quote(str(self.shell.script))}; echo do""ne\n')
        terminal.shows('done')
        terminal.shows('ready> ')
        terminal.types('zatotx comple\t')
        terminal.shows('tion ')
        terminal.types('\t\t')
        self.assertIn('fish', terminal.shows('zsh'))

    def test_zsh(self) -> None:
        """Likewise, with the script read after compinit."""
        script = self.shell.place / '_zatotx'
        script.write_text(zatotx('completion', 'zsh').out)
        terminal = self.prompt('zsh', '-f', '-i')
        terminal.types(f'autoload -U compinit; compinit -u -D; source {shlex.quote(str(script))}; echo do""ne\n')
        terminal.shows('done')
        terminal.shows('ready> ')
        terminal.types('zatotx comple\t')
        terminal.shows('tion ')
        terminal.types('\t')
        self.assertIn('fish', terminal.shows('zsh'))

    def test_fish(self) -> None:
        """It says itself what it would offer, descriptions too."""
        script = self.shell.place / 'zatotx.fish'
        script.write_text(zatotx('completion', 'fish').out)
        done = subprocess.run(
            ['fish', '--no-config', '-c', f'source {script}; complete -C "zatotx start"; complete -C "zatotx new s"'],
            capture_output=True, text=True, timeout=60, env={**self.shell.env, 'HOME': str(self.shell.place)},
        )  # fmt: skip
        self.assertEqual(done.stdout.splitlines(), [
            f'start\t{COMMANDS["start"][1]}', 'service\tGenerate a service, its test and its channel.',
        ])  # fmt: skip


class Terminal:
    """Our end of a shell's terminal."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.shown = b''  # and not looked at yet

    def types(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def shows(self, wanted: str) -> str:
        """What it shows, up to what is wanted; AssertionError where that does not come."""
        end = time.monotonic() + 60
        while wanted.encode() not in self.shown:
            readable, _, _ = select.select([self.descriptor], [], [], max(0.0, end - time.monotonic()))
            if not readable:
                raise AssertionError(f'{wanted!r} is not in {self.shown!r}')
            self.shown += os.read(self.descriptor, 65536)
        before, _, self.shown = self.shown.partition(wanted.encode())
        return before.decode()


class ScriptTests(SynchronousTestCase):
    def test_every_shell_has_its_script(self) -> None:
        """Each names the function and the command; another shell is wrong usage."""
        signs = {'bash': 'complete -o nosort -F', 'zsh': '#compdef zatotx', 'fish': 'complete --no-files'}
        for shell, sign in signs.items():
            said = zatotx('completion', shell)
            self.assertEqual((said.code, said.err), (0, ''))
            self.assertIn(sign, said.out)
            self.assertIn('_ZATOTX_COMPLETE', said.out)
        self.assertEqual(zatotx('completion', 'tcsh').code, 2)

    def test_completing_is_quick(self) -> None:
        """A command is completed without importing any, nor what commands need."""
        program = ("import sys; from zatotx.cli.main import cli; import click\n"
                   "cli.shell_complete(click.Context(cli, info_name='zatotx'), 's')\n"
                   "print([name for name in sys.modules if name.startswith(('twisted', 'sqlalchemy', 'yaml', "
                   "'zatotx.cli.service'))])")
        done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=60, check=True)
        self.assertEqual(done.stdout, '[]\n')

    def test_mistakes_are_silent(self) -> None:
        """What fails or is late gives nothing, and nobody hears of it."""

        def fail() -> list[str]:
            raise OSError('no')

        self.assertIsNone(completion_values.run_with_timeout(60, fail))
        self.assertEqual(completion_values.run_with_timeout(60, lambda: [1]), [1])
        one, other = socket.socketpair()
        with one, other:
            self.assertIsNone(completion_values.run_with_timeout(0.01, lambda: one.recv(1)))
