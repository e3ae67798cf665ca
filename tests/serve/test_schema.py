"""The service keeps what /openapi.json says, whatever a client sends."""

import pytest
from helpers_serve import Served, fill
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

EXAMPLES = 4
"""Per route and kind of request: seconds, not minutes."""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schema")
    fill(folder)
    words = ["serve", "model", "--gallery", "cars", "--port", "0", "--writable"]
    with Served(*words, cwd=folder) as served:
        yield served.until_ready().address


@pytest.mark.parametrize("kind", ["positive", "negative"])
def test_answers_are_as_described(address, kind):
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    mode = schemathesis.GenerationMode(kind)
    seen = set()

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def check(case):
        answer = case.call(timeout=60)
        seen.add((case.method, case.path))
        # no schema tells which bytes are an image, and which boxes lie inside it
        case.validate_response(answer, excluded_checks=[positive_data_acceptance])

    failures = []
    for found in schema.get_all_operations():
        try:
            given(found.ok().as_strategy(generation_mode=mode))(check)()
        except Unsatisfiable:
            assert kind == "negative"  # a route that takes nothing cannot be asked wrongly
        except BaseExceptionGroup as group:
            failures.append(f"{found.ok().label}: {group.exceptions[0]}")
    assert failures == []
    assert len(seen) >= (13 if kind == "positive" else 6)
