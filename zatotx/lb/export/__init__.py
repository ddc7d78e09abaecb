"""Exports lb.toml as an equivalent configuration for another load balancer."""
