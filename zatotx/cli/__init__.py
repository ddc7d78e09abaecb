"""The `zatotx` command: one module per group of commands, imported on demand. No module here uses the reactor."""
