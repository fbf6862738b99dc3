"""The cell as a whole: settings, security, logs, and the `cell` command that assembles and runs the services."""
