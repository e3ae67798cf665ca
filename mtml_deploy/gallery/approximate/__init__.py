"""An approximate index over a gallery in a folder: fewer rows are looked at, some may be missed.

In: a gallery of many rows. Out: candidates, which are compared anew in float64. What it may miss is
measured by `tune` before it is used, and it is never used unasked.

ivf: the one door to faiss; build, open, search, tune. The manifest is `gallery/index_manifest.py`.
"""
