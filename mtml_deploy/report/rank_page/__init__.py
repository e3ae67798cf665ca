"""Rank lists as one HTML page: templates, what fills them, thumbnails."""
