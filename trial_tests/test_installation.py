"""What is built is what can be installed: wheel and sdist, in an environment without this checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import free_offset

ROOT = Path(__file__).parent.parent
BUILD = 'import sys; from setuptools import build_meta; print(build_meta.{kind}(sys.argv[1]))'
LEFT_OUT = shutil.ignore_patterns(
    '.git', '.venv', 'run', 'build', 'dist', '_trial_temp*', '*.egg-info', '__pycache__', '.*_cache', '.hypothesis'
)


def run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command that must not see this checkout."""
    variables = {key: value for key, value in os.environ.items() if key not in ('PYTHONPATH', 'COVERAGE_PROCESS_START')}
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=False, timeout=300)


class Tree:
    """A copy of the sources, and what was built from it. Made once: building takes seconds."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.source = Path(shutil.copytree(ROOT, directory / 'source', ignore=LEFT_OUT))
        self.sdist = self.build('build_sdist', self.source)
        with tarfile.open(self.sdist) as archive:
            archive.extractall(directory / 'unpacked', filter='data')
        (unpacked,) = (directory / 'unpacked').iterdir()
        self.wheel = self.build('build_wheel', self.source)
        self.wheel_of_sdist = self.build('build_wheel', unpacked, 'again')

    def build(self, kind: str, source: Path, place: str = 'dist') -> Path:
        place_path = self.directory / place
        place_path.mkdir(exist_ok=True)
        done = run(sys.executable, '-c', BUILD.format(kind=kind), str(place_path), cwd=source)
        if done.returncode:
            raise AssertionError(done.stderr)
        return place_path / done.stdout.splitlines()[-1]


class InstallationTests(SynchronousTestCase):
    """`pip install .` gives everything that runs."""

    def setUp(self) -> None:
        self.tree = Tree(Path(self.mktemp()).absolute())

    def install(self, wheel: Path) -> Path:
        """A fresh environment with the wheel; its libraries are those of the one that runs the tests."""
        place = self.tree.directory / 'env'
        venv.create(place, with_pip=False, symlinks=True)
        packages = Path(sysconfig.get_path('purelib', vars={'base': str(place), 'platbase': str(place)}))
        (packages / 'libraries.pth').write_text(sysconfig.get_path('purelib') + '\n')
        installing = ('-m', 'pip', 'install', '--no-deps', '--no-index', '--ignore-installed', '--quiet')
        done = run(sys.executable, '-m', 'pip', '--python', str(place), *installing[2:], str(wheel))
        self.assertEqual(done.returncode, 0, done.stderr)
        return place / 'bin'

    def test_wheel_and_sdist(self) -> None:
        """The sdist installs what the wheel does; the commands are there; an environment made with it starts."""
        with zipfile.ZipFile(self.tree.wheel) as wheel, zipfile.ZipFile(self.tree.wheel_of_sdist) as again:
            names = set(wheel.namelist())
            self.assertEqual(names, set(again.namelist()))
        for needed in ('zatotx/py.typed', 'twisted/plugins/zatotx_server.py', 'twisted/plugins/zatotx_redis.py'):
            self.assertIn(needed, names)
        self.assertEqual([name for name in names if name.endswith(('dropin.cache', '.pyc'))], [])
        binaries = self.install(self.tree.wheel)
        self.check_commands(binaries)

    def check_commands(self, binaries: Path) -> None:
        """The installed zatotx, not the one of this checkout, works from a directory without sources."""
        python, elsewhere = str(binaries / 'python'), self.tree.directory
        where = run(python, '-c', 'import zatotx; print(zatotx.__file__)', cwd=elsewhere)
        self.assertTrue(where.stdout.startswith(str(self.tree.directory)), where)
        self.assertIn('quickstart', run(str(binaries / 'zatotx'), '--help', cwd=elsewhere).stdout)
        twistd = ('-c', 'from twisted.scripts.twistd import run; run()')
        for plugin in ('zato-server', 'zato-redis'):
            shown = run(python, *twistd, plugin, '--help', cwd=elsewhere)
            self.assertIn('--dir', shown.stdout, shown)
        offset = str(free_offset())
        for words in (('quickstart', 'create', 'qs', '--port-offset', offset), ('check-config', 'qs'), ('start', 'qs'),
                      ('service', 'invoke', 'qs', 'zato.ping'), ('stop', 'qs')):
            done = run(str(binaries / 'zatotx'), *words, cwd=elsewhere)
            self.assertEqual(done.returncode, 0, (words, done.stderr))
