"""Where a secret key comes from, who can see it, and the commands that use it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support import broker
from trial_tests.support.broker import SCRIPTS, Broker, free_offset, quickstart
from trial_tests.support.command import sentences, zatotx
from trial_tests.support.waiting import until
from zatotx.odb.secrets import Secrets, new_key

NO_CORE = re.compile(r'^Max core file size +0 +0 ', re.MULTILINE)


def said_by(*words: object, stdin: bytes = b'', **env: str) -> subprocess.CompletedProcess[str]:
    """A program of ours with that on its stdin."""
    done = subprocess.run(
        [str(SCRIPTS / str(words[0])), *map(str, words[1:])], input=stdin, capture_output=True, check=False, timeout=60,
        env={**os.environ, **env},
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


class GivenKeyTests(SynchronousTestCase):
    """A server whose key is in no file."""

    def setUp(self) -> None:
        self.broker: Broker = broker.create()
        self.addCleanup(broker.remove, self.broker)
        file = self.broker.directory() / 'config/secret.key'
        self.key = file.read_text().strip()
        file.unlink()

    def check_hidden(self) -> None:
        """In no command line, and in no environment as the kernel shows it."""
        pids = self.broker.pids()
        self.assertTrue(pids)
        for pid in pids:
            for what in ('cmdline', 'environ'):
                self.assertNotIn(self.key.encode(), Path(f'/proc/{pid}/{what}').read_bytes())
        self.assertEqual(self.broker.invoke('zato.ping').status, 200)

    def test_start(self) -> None:
        """`zatotx start` takes it on stdin; test_no_core_dump has it in the variable."""
        said = said_by('zatotx', 'start', self.broker.path, '--secret-key', '-', stdin=f'{self.key}\n'.encode())
        self.assertEqual(said.returncode, 0, said.stderr)
        self.check_hidden()

    def test_workers(self) -> None:
        """The processes of a server with workers have the key from their parent, in no command line."""
        self.broker.set('main', workers=2)
        said = said_by('zatotx', 'start', self.broker.path, '--secret-key', '-', stdin=f'{self.key}\n'.encode())
        self.assertEqual(said.returncode, 0, said.stderr)
        pids = self.broker.pids()
        self.assertEqual(len(pids), 3)
        for pid in pids:
            self.assertNotIn(self.key.encode(), Path(f'/proc/{pid}/cmdline').read_bytes())
            self.assertRegex(Path(f'/proc/{pid}/limits').read_text(), NO_CORE)
        self.assertEqual(self.broker.invoke('zato.ping').status, 200)

    def test_none(self) -> None:
        """One sentence that names the ways there are; with a wrong one, that it is wrong; never the key."""
        said = self.broker.run('start', str(self.broker.path))
        self.assertEqual((said.code, len(sentences(said.err))), (1, 1), said)
        for part in ('secret.key cannot be read', 'ZATOTX_SECRET_KEY', '--secret-key -'):
            self.assertIn(part, said.err)
        other = new_key()
        wrong = ((b'', 'no secret key'), (b'nonsense', 'url-safe base64'), (other.encode(), 'is not the one'))
        for stdin, part in wrong:
            done = said_by('zatotx', 'start', self.broker.path, '--secret-key', '-', stdin=stdin)
            self.assertEqual((done.returncode, part in done.stderr), (1, True), done)
            self.assertNotIn(other, done.stderr)

    def test_on_the_command_line(self) -> None:
        """Is refused, by both programs, without being repeated."""
        for words in (('zatotx', 'start', self.broker.path, '--secret-key', self.key),
                      ('twistd', '-n', 'zato-server', '--dir', self.broker.directory(), '--secret-key', self.key)):
            done = said_by(*words)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn('can be read by every user', done.stderr + done.stdout)
            self.assertNotIn(self.key, done.stderr + done.stdout)

    def in_foreground(self, *words: object, **env: str) -> None:
        """A program that reads its key from a pipe runs, and ends well."""
        process = subprocess.Popen([str(SCRIPTS / str(words[0])), *map(str, words[1:])], stdin=subprocess.PIPE,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **env})
        assert process.stdin is not None
        try:
            process.stdin.write(self.key.encode() + b'\n')  # and stays open: nothing waits for its end
            process.stdin.flush()
            until(self.serves, 'a server with the key of a pipe')
            self.check_hidden()
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
            process.stdin.close()
        self.assertEqual(code, 0)

    def serves(self) -> bool:
        try:
            return self.broker.ask('GET', '/zato/ready').status == 200
        except OSError:
            return False

    def test_in_the_foreground(self) -> None:
        """Under twistd itself, and by `zatotx start --fg`, from a pipe or the variable."""
        self.in_foreground('twistd', '-n', '--pidfile=', 'zato-server', '--dir', self.broker.directory(),
                           '--secret-key', '-')
        self.in_foreground('zatotx', 'start', self.broker.directory(), '--fg', '--secret-key', '-')
        self.in_foreground('zatotx', 'start', self.broker.directory(), '--fg', ZATOTX_SECRET_KEY=self.key)

    def test_no_core_dump(self) -> None:
        """A server that crashes leaves none, and gives a program that takes dumps no memory; what its services start
        has no key in its environment. `zatotx start` passes the key from its variable to the server by a pipe."""
        self.broker.must('start', str(self.broker.path), env={'ZATOTX_SECRET_KEY': self.key})
        self.check_hidden()
        self.broker.serve('leak.py', '''
            import os, subprocess
            from zatotx import Service

            class Leak(Service):
                name = 'leak'

                def handle(self):
                    self.response.payload = subprocess.check_output(['env'], text=True) + repr(dict(os.environ))
        ''')
        self.assertNotIn(self.key, self.broker.invoke('leak').body.decode())
        (pid,) = self.broker.pids()
        self.assertRegex(Path(f'/proc/{pid}/limits').read_text(), NO_CORE)
        self.assertEqual(int(Path(f'/proc/{pid}/coredump_filter').read_text(), 16), 0)
        os.kill(pid, signal.SIGABRT)
        until(lambda: not self.broker.pids(), 'the end of the server')
        self.assertEqual(list(self.broker.path.rglob('core*')), [])

    def test_core_dumps_where_they_are_wanted(self) -> None:
        """`[main] core_dumps = true` leaves the limits as they were."""
        self.broker.set('main', core_dumps=True)
        self.broker.must('start', str(self.broker.path), env={'ZATOTX_SECRET_KEY': self.key})
        (pid,) = self.broker.pids()
        ours, theirs = (Path(f'/proc/{one}/coredump_filter').read_text() for one in (os.getpid(), pid))
        self.assertEqual(ours, theirs)


class CommandTests(SynchronousTestCase):
    """generate-key, encrypt, decrypt."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute() / 'qs'
        quickstart(self.path, '--servers', 1, '--port-offset', free_offset())
        self.file = self.path / 'server1/config/secret.key'

    def test_secrets_need_not_stand_on_the_command_line(self) -> None:
        """encrypt and decrypt take them from a pipe, last line end aside, and their help says so."""
        for command in ('encrypt', 'decrypt'):
            for words in ((command,), ('crypto', command)):
                text = ' '.join(zatotx(*words, '--help').out.split())
                self.assertIn('- reads it from standard input', text)
        stored = zatotx('crypto', 'encrypt', self.path, stdin=b'sesame\n').out.strip()
        self.assertEqual(Secrets(self.file.read_text()).decrypt(stored), 'sesame')
        self.assertEqual(zatotx('decrypt', self.path, stdin=stored.encode()).out, 'sesame\n')

    def test_prompt(self) -> None:
        """A person is asked, and what they type is not shown."""
        ask = ('import pty, sys, os\npid, fd = pty.fork()\nif pid == 0:\n    os.execv(sys.argv[1], sys.argv[1:])\n'
               'seen = b""\nwhile b"Secret:" not in seen:\n    seen += os.read(fd, 1000)\nos.write(fd, b"sesame\\n")\n'
               'try:\n    while True:\n        more = os.read(fd, 1000)\n        seen += more\n        assert more\n'
               'except (OSError, AssertionError):\n    pass\nsys.stdout.buffer.write(seen)\n')
        done = subprocess.run([sys.executable, '-c', ask, str(SCRIPTS / 'zatotx'), 'encrypt', str(self.path)],
                              capture_output=True, text=True, timeout=60, check=True)
        self.assertNotIn('sesame', done.stdout)
        self.assertEqual(Secrets(self.file.read_text()).decrypt(done.stdout.split()[-1]), 'sesame')

    def test_what_others_encrypted(self) -> None:
        """One sentence, whatever it is."""
        for text in (Secrets(new_key()).encrypt('x'), 'enc:', 'sesame', ''):
            said = zatotx('decrypt', self.path, stdin=text.encode())
            self.assertEqual((said.code, len(sentences(said.err))), (1, 1), said)
            self.assertIn('was not encrypted with the secret key of PATH', said.err)

    def test_modes(self) -> None:
        """A key file that anybody else may read, write or run is refused by every command that needs it, with the
        command that mends it, and so it is by the server."""
        for mode in (0o640, 0o604, 0o620, 0o610):
            self.file.chmod(mode)
            for command in ('encrypt', 'crypto rotate-key', 'odb check', 'start'):
                path = self.path / 'server1' if command == 'start' else self.path
                said = zatotx(*command.split(), path, stdin=b'x')
                self.assertEqual((said.code, f"'chmod 600 {self.file}'" in said.err), (1, True), said)

    def test_generate_key(self) -> None:
        """A new one each time, which is one."""
        keys = {zatotx('crypto', 'generate-key').out.strip() for _ in range(3)}
        self.assertEqual(len(keys), 3)
        for key in keys:
            Secrets(key)
