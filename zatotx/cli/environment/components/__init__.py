"""What the commands do with a component of each type: one module per type."""
