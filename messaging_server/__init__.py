"""The messaging server: holds client streams, takes commands to the log, and shows events as links bring them."""
