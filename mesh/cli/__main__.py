"""`python -m mesh.cli`: the command `mesh` where it is not on the path."""

import sys

from mesh.cli import main

sys.exit(main())
