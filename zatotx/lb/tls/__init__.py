"""TLS of the listeners of the load balancer."""
