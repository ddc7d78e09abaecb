"""TLS of the load balancer's listeners: certificate files and TLS contexts."""
