"""Vehicle re-identification on the deployment side: artifact in, embeddings, rankings, reports out.

Reads no training code and needs no torch. Start with `artifact.open_artifact`, then
`runtime.open_runtime`, `embed.embed`, `rank.rank` and `evaluate.evaluate`.
"""

__version__ = "0.1.0"
