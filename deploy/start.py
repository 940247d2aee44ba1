"""How the program starts: an interrupt while it imports what it needs is no failure, either."""

from __future__ import annotations


def main() -> int:
    """Run `deploy.cli.main`."""
    try:
        from deploy.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("stopped")
        return 130
