"""Results for people and programs: JSON, Markdown, plots, pages."""
