"""Who may use a channel: the guard, and one check for each type of security definition."""
