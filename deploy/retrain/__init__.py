"""Training after the search: a grid over the best networks, then the best of it to its end."""
