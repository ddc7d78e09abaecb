"""All metadata and settings live in setup.cfg; this file only adds the twistd plugins to the packages."""

from setuptools import find_namespace_packages, setup

# twisted/plugins has no __init__.py by design: its modules join Twisted's own plugin package when installed.
# The kinds' tests lean on trial_tests/, which is in the sdist and in no wheel.
packages = find_namespace_packages(include=['zatotx', 'zatotx.*'], exclude=['*.test', '*.test.*', '*.__pycache__'])
setup(packages=[*packages, 'twisted.plugins'])
