"""Decisions about Redis commands: which commands services may execute, and how the methods of redis-py map to
commands."""
