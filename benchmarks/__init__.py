"""Measurements of the toolkit: speeds side by side, beside the machine's own limit."""
