"""Configurations of other load balancers that do what lb.toml says."""
