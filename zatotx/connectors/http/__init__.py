"""What the HTTP kind and the load balancer share: writers that a slow peer may block, and idle connections."""
