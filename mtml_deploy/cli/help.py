"""What -h prints of a command: options in sections, words for values, examples, where to read on.

In: a command and the formatter of click. Out: text. One table says which options belong together,
and one what a word for a value means, for all programs: a name means the same everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import click

SOURCES: Final = (
    "images: veri:DIR, cityflow:DIR, vehicleid:DIR, veriwild:DIR, csv:FILE[@id=COLUMN,...], "
    "folders:DIR, market1501:DIR, crops:FILE@frames=PLACE,format=FORMAT,..., all with #train, "
    "#query or #gallery where they tell parts, a folder, a LIST.txt or an image"
)
"""Written out: what reads sources loads NumPy and Pillow, and help must not wait for those."""

WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "MODEL": "a folder that mtml-export wrote",
        "RUN": "a folder that mtml-train wrote, or a checkpoint in it",
        "SOURCE": SOURCES,
        "EMB": "an embeddings file (.npz), which mtml-deploy embed wrote",
        "GALLERY": "a folder that mtml-deploy gallery create made, or a Milvus collection: "
        "milvus://HOST:PORT/COLLECTION",
        "LIST": "a LIST.txt of images to calibrate on, with its manifest beside it",
        "TIME": "ISO 8601 (UTC without an offset), or seconds since 1970",
        "ID": "the number or the text that images are labelled with",
    }
)
"""Words for values -> what they stand for."""

_OF_NAME: Final = {
    name: word
    for word, names in {
        "MODEL": "--reference --keep-fp32 --compare-model --int8-model",
        "RUN": "--init --run",
        "SOURCE": "--data --images --test --val --val-gallery",
        "EMB": "--train",
        "DEVICE": "--device --reference-device",
        "NAME": "--protocol --val-protocol --backbone --label --name",
        "NAME|FILE": "--weights",
        "A,B": "--branches --variants",
        "N,N": "--seeds",
        "ADDRESS": "--host",
        "POLICY": "--version-policy",
        "FILE": "--path",
    }.items()
    for name in names.split()
}
_OF_TYPE: Final = {
    "integer": "N",
    "integer range": "N",
    "float": "X",
    "float range": "X",
    "file": "FILE",
    "path": "DIR",
}
"""Words for values by options, else by the names of click's types."""

_SECTIONS: Final = {
    "What goes in": (
        "--images --query --gallery --data --test --embeddings --parts --train --reference "
        "--compare-query --compare-gallery --compare-model --means-of --ground-truth --junk "
        "--calibration --thresholds --result --branch-model --int8-model --run --config --init "
        "--weights --peer-torchreid --peer-fast-reid --peer-site"
    ),
    "Rows, cameras and times": (
        "--camera --exclude-camera --since --until --orientation --time --times --path --vehicle "
        "--row --as-one"
    ),
    "What they become": "--set-vehicle --set-camera --set-tracklet --set-orientation --set-time",
    "How it is ranked": (
        "--top-k --protocol --search-engine --memory-gib --expand --alpha --rerank --k1 --k2 "
        "--lambda --max-distance --approximate --shortlist --leave-out-self --draws --normalised "
        "--fpr --recall"
    ),
    "The model": (
        "--variant --backbone --image-size --embedding --branches --with-orientation --neck "
        "--normalise --no-normalise --flip-average --fp16 --int8 --calibrator --max-map-drop "
        "--input --values --channels --opset --ir-version --method --dim --shrinkage --folds "
        "--checkpoint --licence"
    ),
    "The training": (
        "--recipe --set --accumulate --epochs --max-steps --lr "
        "--amp --save-every --log-every --vary --variants --seeds --steps --entrant"
    ),
    "The validation": "--val --val-gallery --val-protocol --val-every --best-by --patience",
    "The service": (
        "--host --port --token-file --queue-size --queue-delay-ms --queue-timeout-ms "
        "--max-requests --max-images --max-body-mib --search-threads --writable --keep-uploads "
        "--drain-s --model-version --version-policy --plan --plan-file --preferred-batch "
        "--instances --kind"
    ),
    "The engine": (
        "--target --sm --min-batch --opt-batch --max-batch --workspace-gib --optimization-level "
        "--aux-streams --timing-cache --hardware-compatible"
    ),
    "What is measured": (
        "--runner --rounds --runs --seconds --limit --memory --matrix-size --case --size --quick "
        "--clients --duration-s --tolerance --isa --compile"
    ),
    "In parts, on many machines": "--shard --merge --engine --shards",
    "What comes out": (
        "--out --open --json --markdown --html --plot --label --title --max-queries --show "
        "--explain --keep-fp32 --resume --overwrite --dry-run"
    ),
    "How the model runs": (
        "--backend --device --reference-device --execution-precision --batch-size --threads "
        "--model-threads --streams --skip-bad"
    ),
    "Always": "--version --verbose --help",
}
_SECTION_OF: Final = {name: title for title, names in _SECTIONS.items() for name in names.split()}
_COMMANDS: Final = {
    "From images to ranks": "demo embed rank evaluate report gallery search tracklets centre",
    "Models": "info doctor parity convert compress calibrate-threshold calibrate build card",
    "Service and hand-over": "serve triton deepstream aicity",
}
_FEW: Final = 8
"""So many options need no sections."""


_WHOLE: Final = "\u2011"
"""A hyphen at which no line is broken."""


class Formatter(click.HelpFormatter):
    """The formatter of click, which leaves options and commands whole at the end of a line."""

    def write_text(self, text: str) -> None:
        """Write a paragraph."""
        super().write_text(text.replace("-", _WHOLE))

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Write words and what they mean."""
        whole = [(word, text.replace("-", _WHOLE)) for word, text in rows]
        super().write_dl(whole, col_max, col_spacing)

    def getvalue(self) -> str:
        """What was written."""
        return super().getvalue().replace(_WHOLE, "-")


class HelpContext(click.Context):
    """A context that writes help so."""

    formatter_class = Formatter


def name_kinds(params: Sequence[click.Parameter]) -> None:
    """Give options without a word for their value the usual one."""
    for param in params:
        if isinstance(param, click.Option) and not param.is_flag and param.metavar is None:
            words = (_OF_NAME.get(name) for name in param.opts)
            param.metavar = next(filter(None, words), _OF_TYPE.get(param.type.name))


def sections(params: Sequence[click.Parameter]) -> dict[str, list[click.Option]]:
    """The options of a command by section; one that is in no table goes with the one before it.

    Args:
        params: of the command, in its own order.

    Returns:
        Title -> options; one title for all where they are few.
    """
    options = [each for each in params if isinstance(each, click.Option) and not each.hidden]
    found: dict[str, list[click.Option]] = {title: [] for title in ("Options", *_SECTIONS)}
    title = "Options"
    for option in options:
        title = next((_SECTION_OF[name] for name in option.opts if name in _SECTION_OF), title)
        found[title].append(option)
    if len(options) - len(found["Always"]) < _FEW:
        return {"Options": [*(o for o in options if o not in found["Always"]), *found["Always"]]}
    return {title: each for title, each in found.items() if each}


def command_sections(names: Sequence[str]) -> dict[str, list[str]]:
    """The commands of a group by section, in the order of their use; others come first."""
    listed = {title: text.split() for title, text in _COMMANDS.items()}
    known = {name for each in listed.values() for name in each}
    if len(set(names) & known) < _FEW:
        return {"Commands": list(names)}
    others = [name for name in names if name not in known]
    found = {title: [name for name in each if name in names] for title, each in listed.items()}
    return ({"Commands": others} if others else {}) | found


def words_of(params: Sequence[click.Parameter], ctx: click.Context) -> list[tuple[str, str]]:
    """The words for values that a command uses, each with what it stands for."""
    named = " ".join(param.make_metavar(ctx) for param in params)
    used = set(re.findall(r"[A-Z]+", named.replace("OLD", "GALLERY")))
    return [(word, text) for word, text in WORDS.items() if word in used]


def example_lines(example: str, width: int) -> Iterator[str]:
    """An example as lines that a shell takes together.

    Args:
        example: one command.
        width: columns that a line may have.
    """
    line = ""
    for part in re.split(r" (?=--)", example):
        if line and len(line) + len(part) + 3 > width:
            yield f"{line} \\"
            line = f"    {part}"
        else:
            line = f"{line} {part}" if line else part
    yield line
