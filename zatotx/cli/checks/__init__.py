"""The checks of `zatotx doctor`. There is one module per subject, with a tuple `CHECKS`. A check yields findings,
changes nothing, and uses a timeout for every request."""
