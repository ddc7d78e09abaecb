"""constraints.txt: the exact version of everything that the requirements of setup.cfg bring, extras included.

BY_HAND are those that need a library which no registry has: their versions are kept as they are in the file.

`python .ci/constraints.py` writes it from the environment that runs it; `--check` says, with exit code 1, which
requirement it does not pin, or pins to a version that setup.cfg does not want.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from configparser import ConfigParser
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
FILE = ROOT / 'constraints.txt'
BY_HAND = frozenset(('pymqi',))  # needs IBM's client, or trial_tests/peers/mqi_loopback
HEAD = """\
# The versions that zatotx was tested with, of everything that it and its extras need: `make constraints` writes them.
# To install the same: pip install -c constraints.txt zatotx
"""


def declared() -> list[Requirement]:
    """All requirements of setup.cfg."""
    config = ConfigParser(interpolation=None)
    config.read(ROOT / 'setup.cfg', 'utf-8')
    extras = config['options.extras_require'].values()
    lines = '\n'.join([config['options']['install_requires'], *extras]).splitlines()
    return [Requirement(line) for line in lines if line.strip()]


def brought(requirements: list[Requirement]) -> Iterator[tuple[str, str]]:
    """(name, version) of what is installed for them, and for these in turn. Raises PackageNotFoundError."""
    waiting, seen = list(requirements), set()
    while waiting:
        wanted = waiting.pop()
        extras = frozenset(wanted.extras)
        key = (canonicalize_name(wanted.name), extras)
        if key in seen or key[0] in BY_HAND:
            continue
        seen.add(key)
        found = distribution(wanted.name)
        yield key[0], found.version
        for text in found.requires or ():
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({'extra': extra}) for extra in ('', *extras)):
                waiting.append(needed)


def pins() -> dict[str, str]:
    """What the file says."""
    lines = FILE.read_text('utf-8').splitlines() if FILE.exists() else []
    pairs = (line.split('==', 1) for line in lines if '==' in line and not line.startswith('#'))
    return {canonicalize_name(name): version.strip() for name, version in pairs}


def wrong() -> list[str]:
    """What is wrong with the file, a sentence each."""
    found, said = pins(), []
    for requirement in declared():
        version = found.get(canonicalize_name(requirement.name))
        if version is None:
            said.append(f'{requirement} of setup.cfg is not in constraints.txt')
        elif not requirement.specifier.contains(version, prereleases=True):
            said.append(f'{requirement} of setup.cfg is {requirement.name}=={version} in constraints.txt')
    return said


def main(check: bool) -> int:
    if check:
        said = wrong()
        print('\n'.join([*said, "Run 'make constraints'."]) if said else 'constraints.txt pins every requirement.')
        return bool(said)
    try:
        kept = {name: version for name, version in pins().items() if name in BY_HAND}
        found = {**kept, **dict(brought(declared()))}
    except PackageNotFoundError as error:
        print(f'{error.name} is not installed here: make constraints installs all extras first.', file=sys.stderr)
        return 1
    text = ''.join(f'{name}=={version}\n' for name, version in sorted(found.items()))
    FILE.write_text(HEAD + text, 'utf-8')
    print(f'constraints.txt: {len(found)} versions.')
    return 0


if __name__ == '__main__':
    sys.exit(main('--check' in sys.argv[1:]))
