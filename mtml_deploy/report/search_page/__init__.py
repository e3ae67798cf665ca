"""The search page: what a person sees of a search, from a service or in a file of its own."""
