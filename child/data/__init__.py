"""Data sets: what a child trains on, is validated on, and is tested on once."""
