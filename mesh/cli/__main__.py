"""The command `mesh` where it is not on the path: `python -m mesh.cli`, or this file by its path.

By its path it works under `python -P` as well, which keeps the working directory out of the search for modules.
"""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("mesh") is None:
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from mesh.cli import main

sys.exit(main())
