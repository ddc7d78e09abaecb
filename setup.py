"""All metadata and settings live in setup.cfg, except for two things.

The packages are those that are found, and the twistd plugins. The long description is README.md, whose links are
relative so that they work in a checkout, in a fork and at any commit. An index of packages shows it outside of the
repository, so its links are absolute there.
"""

import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_namespace_packages, setup

HERE = Path(__file__).parent


def repository() -> str:
    """Where the sources are, as [metadata] project_urls of setup.cfg has it."""
    settings = ConfigParser(interpolation=None)
    settings.read(HERE / 'setup.cfg', 'utf-8')
    urls = dict(re.split(r'\s*=\s*', line, maxsplit=1)
                for line in settings['metadata']['project_urls'].strip().splitlines())
    return urls['Source']


def absolute(text: str, base: str) -> str:
    """Markdown whose relative links lead to the files of the repository's default branch."""
    return re.sub(r'(?<=\]\()(?!#|[a-z][a-z0-9+.-]*:)(?=[^)]+\))', f'{base}/blob/HEAD/', text)


# twisted/plugins has no __init__.py by design: its modules join Twisted's own plugin package when installed.
# The kinds' tests lean on trial_tests/, which is in the sdist and in no wheel.
packages = find_namespace_packages(include=['zatotx', 'zatotx.*'], exclude=['*.test', '*.test.*', '*.__pycache__'])
setup(
    packages=[*packages, 'twisted.plugins'],
    long_description=absolute((HERE / 'README.md').read_text('utf-8'), repository()),
    long_description_content_type='text/markdown',
)
