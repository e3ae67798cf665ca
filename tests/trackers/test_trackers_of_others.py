"""Trackers of others with `ReidModel`, each installed in an environment of the test's own.

boxmot is under the AGPL: it is run here to see that it works, and nothing depends on it.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
from helpers_artifact import write_artifact
from helpers_environment import environment

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PACKAGES = (
    "boxmot==25.0.0", "lapx==0.11.1", "filterpy==1.4.5", "opencv-python-headless==5.0.0.93",
    "scikit-learn==1.9.1", "joblib==1.6.0", "threadpoolctl==3.8.0", "narwhals==2.29.0",
    "gdown==5.2.2", "beautifulsoup4==4.15.0", "soupsieve==4.1.3", "PySocks==1.7.1", "tqdm==4.70.1",
    "deep-sort-realtime==1.3.2", "norfair==2.3.0",
)  # fmt: skip
"""Beside what the tests have; without what these ask for, as norfair asks for an old NumPy."""


@pytest.fixture(scope="module")
def python():
    """The interpreter that has the trackers."""
    return environment("trackers", PACKAGES)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return write_artifact(tmp_path_factory.mktemp("tracked") / "art").folder


def followed(python, artifact, kind, *scenes):
    """What follow.py tells of each scene: [cars][frames] an id or None."""
    script = Path(__file__).with_name("follow.py")
    done = subprocess.run(
        [python, script, artifact, kind, *scenes],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def ids(car):
    """The different ids of one car."""
    return {id_ for id_ in car if id_ is not None}


@pytest.mark.parametrize("kind", ["botsort", "norfair"])
def test_a_car_keeps_its_id_behind_something(python, artifact, kind):
    (cars,) = followed(python, artifact, kind, "hidden:model")
    assert [len(ids(car)) for car in cars] == [1, 1, 1, 1]
    assert len(set.union(*map(ids, cars))) == 4
    assert all(car[-1] is not None for car in cars)
    assert None in cars[1] and None not in cars[0][2:]


@pytest.mark.parametrize("kind", ["strongsort", "deepsort"])
def test_appearance_decides_where_motion_would_err(python, artifact, kind):
    hidden, seeing, blind = followed(
        python, artifact, kind, "hidden:model", "swapped:model", "swapped:blind"
    )
    assert [len(ids(car)) for car in hidden] == [1, 1, 1, 1]
    assert len(set.union(*map(ids, hidden))) == 4
    # without appearance each of the two takes over the id of the other
    assert ids(blind[0]) == ids(blind[1]) and len(ids(blind[0])) == 2
    assert not ids(seeing[0]) & ids(seeing[1])
