"""What the commands share: errors told in a sentence, and exit statuses."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from trainer.cli import USER_ERRORS, explain


def reported(command: Callable[[], None]) -> int:
    """Run a command; return 0, or tell its error and return 1, or 2 for a mistake of the user's."""
    try:
        command()
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exc()
        print(f"Error: {explain(error)}", file=sys.stderr)
        return 2 if isinstance(error, USER_ERRORS) else 1
    return 0
