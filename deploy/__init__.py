"""What a person runs and looks at: the command line, launching a search, its run directory."""

import os

# Ray prints a paragraph when a process dies, and a search says so itself, in a line. Ray reads this
# when it is imported.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "^A worker died or was killed ")
