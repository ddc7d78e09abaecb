"""Decisions as pure functions. The current time and random numbers are parameters."""
