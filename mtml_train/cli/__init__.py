"""The command lines `mtml-train` and `mtml-export`."""
