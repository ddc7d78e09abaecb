"""What twistd finds: one module a plugin, each with Options and makeService. The only place that builds things."""
