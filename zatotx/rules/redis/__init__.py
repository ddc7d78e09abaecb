"""Decisions about Redis commands: the commands that services may execute, and the mapping of redis-py's methods to
commands."""
