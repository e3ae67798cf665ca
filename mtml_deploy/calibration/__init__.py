"""Calibration images for int8: chosen from the training split, checked, and what they are good for.

In: a data set with splits. Out: a list that `mtml-export --int8 --calibration` reads.
"""
