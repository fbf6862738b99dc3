"""The subcommands of `cell`, one a file."""
