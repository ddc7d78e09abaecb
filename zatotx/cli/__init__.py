"""The `zatotx` command. Each group of commands is one module, imported on demand. No module here uses the reactor."""
