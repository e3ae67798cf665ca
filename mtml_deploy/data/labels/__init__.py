"""Label files of published data sets."""
