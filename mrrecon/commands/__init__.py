"""What the command line does, one module a command; each is an ordinary function with typed arguments."""
