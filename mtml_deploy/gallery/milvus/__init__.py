"""A gallery that is a collection on a Milvus server, or in a local milvus-lite folder.

Read in this order: `address.py`, `manifest.py`, `entities.py`, `connect.py`, `client.py`,
`schema.py`, `create.py`, `rows.py`, `search.py`, `summary.py`, `verify.py`, `gallery.py`,
`tune.py`.
"""
