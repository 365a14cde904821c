"""The command `trainer`, and `python -m trainer`."""

from __future__ import annotations

import sys

from trainer import collecting


def main() -> None:
    """Run the command with the process's arguments; see `trainer.cli.main`."""
    collecting.put_off()
    try:
        from trainer.cli import main as command

        command()
    except KeyboardInterrupt:
        # What there is to say of one is said by the command, which is not there while it is imported.
        sys.exit(130)
    finally:
        collecting.as_usual()


if __name__ == "__main__":
    main()
