"""The configuration of a load balancer (lb.toml): model, parser and validation."""
