"""The service: an exported model and a gallery behind HTTP.

In: images and questions of clients. Out: embeddings and lists, as the commands give them.
"""
