"""The levels of the diagnosis, in the order of reading; one module each."""
