"""Exports lb.toml as an equivalent configuration of other load balancers."""
