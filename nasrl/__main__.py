"""`python -m nasrl`: the command line."""

import sys

from deploy.cli import main

sys.exit(main())
