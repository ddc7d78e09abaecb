"""From a file to services on every node: read, imported aside, checked, stored, swapped in."""
