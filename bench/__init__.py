"""`make bench`: the broker's figures beside its peers', measured in the same run on the same machine."""
