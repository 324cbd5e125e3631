"""Text that stays text in Markdown, LaTeX and pictures."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hustings.plain import latex, markdown, printable

ODD = (
    "a|b", "a\nb", "a\r\n\r\nb", "`code`", "``", "`", "*a*", "**", "a*b*c", "_a_", "__init__", "snake_case_name",
    "<b>x</b>", "<!--",
    "&amp;", "&#65;", "&", "[a](http://b)", "![a](b)", "[a]: b", "[a][b]", "\\", "\\|", "a\\", "~~x~~", "$x$ and $$",
    "# a", "- a", "1. a",
    "> a", "---", "| a |", "|", "\x00", "\t", " a ", "", "***a*", "a * b * c", "*a **b* c**",
    "_", "a_", "_a", "* *", "\u2028",
)  # fmt: skip


def cells(text: str) -> list[list[str]]:
    """The cells of the one table in a Markdown text, as a reader sees them."""
    parsed = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    assert [it.type for it in parsed if it.level == 0] == ["table_open", "table_close"]
    rows: list[list[str]] = []
    for token in parsed:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append("".join(seen(part) for part in token.children or []))
    return rows


def seen(token: Any) -> str:
    """What is seen of a piece of text; a piece that is markup fails."""
    assert token.type in ("text", "text_special"), token
    return token.content


@pytest.mark.parametrize("odd", ODD)
def test_a_cell_of_a_markdown_table_shows_its_text(odd: str) -> None:
    words = " ".join(odd.replace("\x00", "\ufffd").split())
    assert cells(markdown(["a", odd], [["x", odd], [odd, "y"]])) == [["a", words], ["x", words], [words, "y"]]


@given(st.text(st.sampled_from("ab \n|`*_<>&;#[]()!\\~$:-"), max_size=12))
@example("*a*b**")
def test_any_text_of_marks_is_text_in_a_markdown_table(text: str) -> None:
    assert cells(markdown([text, "b"], [["x", text]])) == [[" ".join(text.split()), "b"], ["x", " ".join(text.split())]]


def test_marks_of_latex_are_text() -> None:
    assert latex("from $12 & 5 % of a_b^c #1 {x} ~ \\x – ±\n\ny") == (
        r"from \$12 \& 5 \% of a\_b\textasciicircum{}c \#1 \{x\} \textasciitilde{} \textbackslash{}x -- $\pm$ y"
    )


def test_what_a_picture_cannot_hold_becomes_a_sign_for_it() -> None:
    assert printable("a\x00b\x1bc\td\ud800\ufffe\x85e\nf") == "a\ufffdb\ufffdc d\ufffd\ufffd\ufffde\nf"
    assert printable("a\r\nb\rc") == "a\nb\nc"
    assert printable("😀 é 中 $ % _ \\") == "😀 é 中 $ % _ \\"
