"""Vehicle re-identification on the deployment side: models in, embeddings, rankings, reports out.

    import mtml_deploy as md

    with md.open_model("model") as model:
        gallery = model.embed("veri:cars#gallery")
        query = model.embed("veri:cars#query")
    print(md.evaluate(query, gallery, "veri776"))

Every name is loaded when it is first used; importing the package costs nothing and needs neither
NumPy nor an inference library. Nothing inside the project imports this file.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from mtml_deploy.version import __version__ as __version__

if TYPE_CHECKING:
    from mtml_deploy.api import expand as expand
    from mtml_deploy.api import load_images as load_images
    from mtml_deploy.api import prepare as prepare
    from mtml_deploy.api import rank as rank
    from mtml_deploy.api import rerank as rerank
    from mtml_deploy.api_artifacts import build_engine as build_engine
    from mtml_deploy.api_artifacts import convert as convert
    from mtml_deploy.api_reports import evaluate as evaluate
    from mtml_deploy.api_reports import rank_page as rank_page
    from mtml_deploy.data.ids import read_id as read_id
    from mtml_deploy.embed.embeddings import Embeddings as Embeddings
    from mtml_deploy.gallery.gallery import Gallery as Gallery
    from mtml_deploy.gallery.open import create_gallery as create_gallery
    from mtml_deploy.gallery.open import open_gallery as open_gallery
    from mtml_deploy.gallery.values import Filter as Filter
    from mtml_deploy.gallery.values import Selection as Selection
    from mtml_deploy.model import Model as Model
    from mtml_deploy.model import open_model as open_model
    from mtml_deploy.parity.check import check_parity as check_parity
    from mtml_deploy.report.evaluation import Evaluation as Evaluation
    from mtml_deploy.search.rank import Ranking as Ranking
    from mtml_deploy.trackers import ReidModel as ReidModel

_PLACES = {
    "open_model": "model",
    "Model": "model",
    "load_images": "api",
    "read_id": "data.ids",
    "Embeddings": "embed.embeddings",
    "prepare": "api",
    "rank": "api",
    "Ranking": "search.rank",
    "expand": "api",
    "rerank": "api",
    "evaluate": "api_reports",
    "Evaluation": "report.evaluation",
    "rank_page": "api_reports",
    "open_gallery": "gallery.open",
    "create_gallery": "gallery.open",
    "Gallery": "gallery.gallery",
    "Filter": "gallery.values",
    "Selection": "gallery.values",
    "convert": "api_artifacts",
    "build_engine": "api_artifacts",
    "check_parity": "parity.check",
    "ReidModel": "trackers",
}

__all__ = ["__version__", *_PLACES]  # names, not objects


def __getattr__(name: str) -> object:
    """The public name, loaded now."""
    if name not in _PLACES:
        raise AttributeError(f"module 'mtml_deploy' has no attribute {name!r}")
    value: object = getattr(import_module(f"mtml_deploy.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return sorted({*globals(), *__all__})
