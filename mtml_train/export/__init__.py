"""Checkpoint to artifact: traced, compared with torch, written."""
