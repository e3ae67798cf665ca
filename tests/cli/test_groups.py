"""Groups of options: one value for a command, with defaults of the library and its errors."""

import click
import pytest
from click.testing import CliRunner

from mtml_deploy.cli import options
from mtml_deploy.cli.conversion import conversion_group
from mtml_deploy.cli.groups import (
    comparing_group,
    embedding_group,
    expansion_group,
    group,
    memory_group,
    rerank_group,
    search_group,
)
from mtml_deploy.evaluation.protocols import PROTOCOLS
from mtml_deploy.evaluation.stages import SearchOptions
from mtml_deploy.model import EmbedOptions
from mtml_deploy.precision.options import Conversion
from mtml_deploy.search.query_expansion import ExpansionOptions
from mtml_deploy.search.rerank import RerankOptions


def given(words, *decorators):
    """What a command with these groups is called with, or the text of its refusal."""
    seen = {}

    def command(**values):
        seen.update(values)

    for decorator in reversed(decorators):
        command = decorator(command)
    result = CliRunner().invoke(click.command()(command), words.split())
    return seen if result.exit_code == 0 else result.output


@pytest.mark.parametrize(
    ("groups", "name", "expected"),
    [
        ((embedding_group,), "how", EmbedOptions()),
        ((comparing_group,), "how", EmbedOptions()),
        ((search_group, embedding_group), "search", SearchOptions()),
        ((memory_group,), "search", SearchOptions()),
        ((expansion_group,), "expansion", None),
        ((rerank_group,), "reranking", None),
    ],
)
def test_nothing_given_is_what_the_library_does(groups, name, expected):
    assert given("", *groups)[name] == expected


def test_each_group_is_one_value():
    words = (
        "--batch-size 2 --threads 3 --skip-bad --backend tensorrt --device cuda:1 --expand 4 "
        "--alpha 0 --rerank --k1 5 --k2 6 --lambda 0.5 --search-engine ort --memory-gib 0.5"
    )
    assert given(words, expansion_group, rerank_group, search_group, embedding_group) == {
        "expansion": ExpansionOptions(neighbours=4, alpha=0),
        "reranking": RerankOptions(k1=5, k2=6, weight=0.5),
        "search": SearchOptions("ort", "cuda:1", 2**29),
        "how": EmbedOptions("tensorrt", "cuda:1", 2, 3, True),
    }


def test_only_ort_searches_on_the_device_of_the_model():
    found = given("--device cuda:1 --search-engine faiss", search_group, embedding_group)
    assert found["search"] == SearchOptions("faiss", "cpu", None)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--alpha 3", "--alpha belongs to query expansion"),  # its default, but given
        ("--k1 20", "--k1 belongs to re-ranking"),
        ("--k2 6", "--k2 belongs to re-ranking"),
        ("--lambda 0.3", "--lambda belongs to re-ranking"),
        ("--rerank --k1 2 --k2 4", "only the --k1 + 1 = 3 nearest images are known"),
    ],
)
def test_options_that_do_not_fit_are_refused(words, text):
    assert text in " ".join(given(words, expansion_group, rerank_group).split())


def test_a_conversion_compares_on_the_images_of_its_command():
    images = click.option("--images", default="")
    found = given("--fp16 --images X", conversion_group, images)
    assert found == {"conversion": Conversion(precision="fp16", images="X"), "images": "X"}
    assert given("", conversion_group, images)["conversion"] is None
    assert "are for --int8" in given("--calibration L", conversion_group, images)
    found = given("--fp16 --images X --threads 2 --model-threads 1", conversion_group, images)
    assert (found["conversion"].threads, found["conversion"].model_threads) == (2, 1)
    assert "are for --fp16 and --int8" in given("--threads 2", conversion_group, images)
    assert "give one of --fp16 and --int8" in given("--fp16 --int8", conversion_group, images)


def test_a_fault_of_a_command_is_not_one_of_its_group():
    one = group("one", lambda *, threads: threads, options.threads)

    @one
    def command(*, one):
        raise KeyError(one)

    result = CliRunner().invoke(click.command()(command), ["--threads", "7"])
    assert isinstance(result.exception, KeyError)
    assert result.exception.args == (7,)


def test_help_names_every_protocol():
    *most, last = PROTOCOLS
    assert f"{', '.join(most)} or {last}" == options.PROTOCOLS
