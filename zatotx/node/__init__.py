"""A node: what hosts services and channels. A server is one, and later a connector."""
