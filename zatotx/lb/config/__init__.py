"""The configuration of a load balancer: lb.toml."""
