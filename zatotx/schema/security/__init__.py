"""What all security definitions share, and groups of them. The types are in zatotx/security/."""
