"""Tables and one plot as a page: Markdown for a text, HTML for a browser."""
