"""The command line: one public function a command; parses, calls, prints, sets the exit code.

Exit codes: 0 nothing found (or proven), 1 problems found (or nothing proven), 2 wrong use. `run`
keeps the script's own code, unless --check is given and the script itself ended well.
"""

from sounding.cli import doctor, judging, looking  # each adds its commands to the group
from sounding.cli.group import main

__all__ = ["doctor", "judging", "looking", "main"]
