"""The load balancer, which distributes HTTP requests and TCP connections to servers."""
