"""Decisions as pure functions: time and random numbers are parameters."""
