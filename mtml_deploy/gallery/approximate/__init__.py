"""An approximate index over a gallery in a folder: fewer rows are looked at, some may be missed.

In: a gallery of many rows. Out: candidates, which are compared anew in float64. What it may miss is
measured by `tune` before it is used, and it is never used unasked.

library: the one door to faiss; card: the record beside the index; build, index, search, tune.
"""
