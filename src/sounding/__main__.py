"""``python -m sounding``."""

from sounding.cli import main

if __name__ == "__main__":
    main(prog_name="sounding")
