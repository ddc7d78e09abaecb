"""The agent of the load balancer: an HTTPS API for administration, which is used by clients with a certificate."""
