"""Exact nearest rows: float32 proposes, float64 decides; expanded and re-ranked on request."""
