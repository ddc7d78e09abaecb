"""Outgoing HTTP connections: what services see of other systems."""
