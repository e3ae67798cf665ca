"""A gallery that is a collection on a Milvus server, or in a local milvus-lite folder.

Read in this order: `address.py`, `card.py`, `entities.py`, `connect.py`, `client.py`, `create.py`,
`rows.py`, `search.py`, `store.py`, `summary.py`, `verify.py`.
"""
