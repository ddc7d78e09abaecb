"""The one path of a message: guard, decode, invoke, encode. The same for every protocol."""
