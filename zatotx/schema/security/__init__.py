"""The base class of all security definitions, and security groups. The security types are in zatotx/security/."""
