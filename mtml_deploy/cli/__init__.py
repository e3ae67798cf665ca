"""The subcommands of `mtml-deploy`, one per file: options in, one call of the library, output."""
