"""The load balancer: distributes HTTP requests and TCP connections to servers."""
