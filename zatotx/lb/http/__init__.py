"""The HTTP mode of the load balancer: requests are parsed, routed, and rewritten for a server."""
