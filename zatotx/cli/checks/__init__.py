"""The checks of `zatotx doctor`: one module per subject, each with a tuple `CHECKS`. A check yields findings, changes
nothing, and uses a timeout for every request."""
