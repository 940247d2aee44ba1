"""Search spaces and trainers of the user's own."""
