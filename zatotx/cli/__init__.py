"""The `zatotx` command: one file a group of commands, loaded when it is asked for. No reactor anywhere in here."""
