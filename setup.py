"""All metadata and settings live in setup.cfg; this file only adds the twistd plugins to the packages."""

from setuptools import find_namespace_packages, setup

# twisted/plugins has no __init__.py by design: its modules join Twisted's own plugin package when installed.
setup(packages=[*find_namespace_packages(include=['zatotx', 'zatotx.*']), 'twisted.plugins'])
