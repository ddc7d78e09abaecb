"""The HTTP mode of the load balancer, in which requests are parsed, routed, and rewritten for a server."""
