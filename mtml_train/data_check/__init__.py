"""A user's copy of a data set against its lists and the published counts."""
