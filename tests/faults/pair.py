"""A file to start for scripts that start files: see `outside.pair`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.faults.outside import pair

if __name__ == "__main__":
    pair()
