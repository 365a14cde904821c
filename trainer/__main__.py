"""The command `trainer`, and `python -m trainer`."""

from __future__ import annotations

from trainer import collecting


def main() -> None:
    """Run the command with the process's arguments; see `trainer.cli.main`."""
    collecting.put_off()
    try:
        from trainer.cli import main as command

        command()
    finally:
        collecting.as_usual()


if __name__ == "__main__":
    main()
