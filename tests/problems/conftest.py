"""What the tests of problems share can be imported from `agreement`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
