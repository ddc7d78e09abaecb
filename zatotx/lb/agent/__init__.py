"""The load balancer's agent: an HTTPS API for its administration, for clients with a certificate."""
