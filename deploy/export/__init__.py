"""A network that a search found, as files that need nothing of this project."""
