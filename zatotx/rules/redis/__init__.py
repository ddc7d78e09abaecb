"""Decisions about Redis commands: which ones services may execute, and how redis-py's methods map to them."""
