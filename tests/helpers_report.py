"""One evaluation with numbers that are easy to find again in a report."""

import numpy as np

from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.evaluation.metrics import RetrievalMetrics
from mtml_deploy.evaluation.verification import Verification
from mtml_deploy.report.metrics_json import Evaluation

METRICS = RetrievalMetrics(
    protocol="veri776",
    mean_ap=0.64608,
    mean_ap_trapezoid=0.641,
    mean_inp=0.25,
    cmc=np.array([0.923, 0.94, 0.95, 0.956, 0.957]),
    num_queries=3,
    num_valid=2,
    unmatched="skipped",
    ties=1,
    average_precision=np.array([0.5, np.nan, 0.79216]),
    verification=Verification(
        positives=4, negatives=2000, tpr=(None, 0.25, 0.75), distances=(None, 0.5, 12.3456789)
    ),
)
EVALUATION = Evaluation(
    label="MTML-OSG",
    metrics=METRICS,
    model=ModelIdentity("0123456789abcdef" * 4, "fp16", "fused", 8192),
    query_source="veri:D#query",
    query_names=("a.jpg", "b.jpg", "c.jpg"),
    gallery_source="veri:D#gallery",
    gallery_size=5,
)
