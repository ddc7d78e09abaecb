"""The agent of the load balancer: an HTTPS API for its administration, for clients with a certificate."""
