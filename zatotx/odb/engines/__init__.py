"""One room a database: how it is connected to, which of its errors mean what, and the lock around its migrations."""
