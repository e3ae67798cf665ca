"""Names, percent and tables for people."""

import os

from mtml_deploy.text import escaped, foreign, percent, printable, shortened, table


def test_printable_keeps_text_and_disarms_the_rest() -> None:
    assert printable("Zoë\t車\n", keep="\n\t") == "Zoë\t車\n"
    assert printable("a\x1b[31mb\rc") == "a\\x1b[31mb\\rc"
    assert printable(os.fsdecode(b"\xff.jpg")) == "\\xff.jpg"


def test_text_of_another_library_is_one_plain_sentence() -> None:
    assert foreign("No \x1b[1mway\x1b[0m in. Do this:\n(1) switch it off") == "No way in"
    assert foreign(OSError(2, "No such file", "a.b c.pth")) == "[Errno 2] No such file: 'a.b c.pth'"
    assert foreign("cut\x07.") == "cut\\x07"
    assert foreign(EOFError()) == ""


def test_markdown_keeps_file_names_readable_and_has_no_meaning() -> None:
    assert escaped("csv:q_1cam.csv#a__b") == "csv:q_1cam.csv#a__b"
    assert escaped("été_車 x") == "été_車 x"
    # at the edge of a word an underscore begins or ends emphasis
    assert escaped("_a_ b_/_c") == "&#95;a&#95; b&#95;/&#95;c"
    assert escaped("*a*|<b>&`[c]`\\\n") == (
        "&#42;a&#42;&#124;&#60;b&#62;&#38;&#96;&#91;c&#93;&#96;&#92;"
    )


def test_percent():
    assert [percent(0.64608), percent(1.0), percent(0.0), percent(float("nan")), percent(None)] == [
        "64.6", "100.0", "0.0", "–", "–",
    ]  # fmt: skip


def test_a_table_has_a_rule_below_its_titles():
    assert table(("name", "value", "why"), [("a", "1", "x"), ("b", "22", "")], align="lrl") == [
        "| name | value | why |",
        "| --- | ---: | --- |",
        "| a | 1 | x |",
        "| b | 22 |  |",
    ]


def test_shortened_names_keep_both_ends() -> None:
    assert shortened("0002_c002_00030600_0.jpg", 24) == "0002_c002_00030600_0.jpg"
    assert shortened("0002_c002_00030600_0.jpg", 11) == "0002_…0.jpg"
    assert shortened("0002_c002_00030600_0.jpg", 10) == "0002…0.jpg"
    assert shortened("abcd", 3) == "a…d"
