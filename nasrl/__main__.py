"""`python -m nasrl`: the command line."""

import sys

from deploy.start import main

sys.exit(main())
