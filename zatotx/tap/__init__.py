"""Twistd plugins: one module per plugin, each with `Options` and `makeService`. Objects are constructed and wired here
only."""
