"""What `zatotx doctor` looks at: one file a subject, its checks listed in `CHECKS`. A check gives findings, changes
nothing, and asks what it asks with a deadline."""
