"""The tests, run under trial. `support/` holds what starts real servers for them."""
