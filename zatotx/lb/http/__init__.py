"""HTTP mode of the load balancer: requests are parsed, routed and written again for a server."""
