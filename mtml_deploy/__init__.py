"""Vehicle re-identification on the deployment side: artifact in, embeddings, rankings, reports out.

Reads no training code and needs no torch. Start with `artifact.open_artifact`, then
`runtime.open_runtime`, `embed.embed`, `rank.rank` and `evaluate.evaluate`.
"""

from mtml_deploy.version import __version__ as __version__
