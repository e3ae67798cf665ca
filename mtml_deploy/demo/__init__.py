"""A small model and pictures of rendered vehicles, so that there is something to run at once."""
