"""The one `groundswell` command: every step from a behaviour log to recommendations."""


def main() -> None:
    """Run the command line; what a command needs is imported when it runs."""
    from groundswell.cli.app import run

    run()
