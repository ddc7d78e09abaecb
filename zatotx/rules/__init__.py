"""Decisions: pure functions over values. `now` and chance are parameters."""
