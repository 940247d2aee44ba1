"""What a person runs and looks at: the command line, launching a search, its run directory."""
