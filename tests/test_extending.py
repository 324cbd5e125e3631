"""Pages of docs/ with examples: every example is put where its page says and run, and so is every command."""

import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, get_args

import pytest
from helpers import ROOT, Recorder, planted, play_all

from hustings import compose
from hustings.analysis import statistics as analysis
from hustings.debate import protocol
from hustings.errors import SettingsError
from hustings.settings import Capability, EngineSettings, SimulateSettings, TreatmentSettings
from hustings.simulation import job
from hustings.study import Study, load

DOCS = ROOT / "docs"
EXTENDING = sorted(f"extending/{page.stem}" for page in (DOCS / "extending").glob("*.md"))
PAGES = [*EXTENDING, "howto/country", "howto/personas", "tutorial"]
FENCE = re.compile(r'^```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?P<page>[\w./-]+\.md)?(?:#(?P<anchor>[\w-]+))?\)")
PROTOCOL = "src/hustings/debate/protocol.py, at the end"


class Example(NamedTuple):
    """A fenced block of a page."""

    language: str
    title: str
    text: str


def examples(page: str, language: str) -> list[Example]:
    """The fenced blocks of a page in one language."""
    found = (Example(*match.groups("")) for match in FENCE.finditer(text_of(page)))
    return [example for example in found if example.language == language]


def text_of(page: str) -> str:
    return (DOCS / f"{page}.md").read_text(encoding="utf-8")


def commands(page: str) -> list[list[str]]:
    """The overrides of every command of a page."""
    lines = [line for example in examples(page, "console") for line in example.text.splitlines()]
    assert all(line.startswith("python simulate.py ") for line in lines)
    return [shlex.split(line)[2:] for line in lines]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in; what an example adds to Hustings is taken away again."""
    monkeypatch.chdir(tmp_path)
    assert EngineSettings.known() and TreatmentSettings.known()  # imports all that ship
    registries = (EngineSettings.kinds, TreatmentSettings.kinds, protocol.TOPOLOGIES, analysis._registered)
    before = [dict(registry) for registry in registries]
    modules = {*sys.modules}
    analysis._shipped.cache_clear()
    yield tmp_path
    for registry, content in zip(registries, before, strict=True):
        registry.clear()
        registry.update(content)
    for name in {*sys.modules} - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    analysis._shipped.cache_clear()


def install(page: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the files of a page where it says: YAML into `conf`, Python into the package that it names."""
    (here / "conf").mkdir(exist_ok=True)
    for example in (it for language in ("yaml", "python", "json") for it in examples(page, language)):
        if example.title == PROTOCOL:
            exec(compile(example.text, PROTOCOL, "exec"), dict(vars(protocol)))
            continue
        file = here / example.title
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(example.text, encoding="utf-8")
        if example.title.startswith("src/"):
            package = importlib.import_module(".".join(Path(example.title).parent.parts[1:]))
            monkeypatch.setattr(package, "__path__", [*package.__path__, str(file.parent)])


def settings(here: Path, *overrides: str) -> SimulateSettings:
    """The settings of a command, on the planted engine unless it names another."""
    engine = [] if any(it.startswith("engine=") for it in overrides) else ["engine=planted"]
    return compose(*overrides, *engine, f"artifacts={here / 'artifacts'}", config_dir=here / "conf")


def simulate(here: Path, *overrides: str) -> Study:
    """The study that a command makes."""
    return load(job.run(settings(here, *overrides), here / "run", ["simulate.py", *overrides]).folder)


def requests(here: Path, *overrides: str) -> Recorder:
    """The requests that a command sends to the planted engine."""
    of = settings(here, *overrides)
    recorder = Recorder(planted(of))
    play_all(of, recorder)
    return recorder


@pytest.mark.parametrize("page", PAGES)
def test_every_example_has_a_title_so_that_it_is_run(page: str) -> None:
    whole = [Example(*match.groups("")) for match in FENCE.finditer(text_of(page))]
    assert len(whole) * 2 == len(re.findall("^```", text_of(page), re.MULTILINE))
    for example in whole:
        assert example.language in ("yaml", "python", "json", "console", "text", "sh")
        assert bool(example.title) == (example.language in ("yaml", "python", "json")), example
        assert example.language != "yaml" or example.title.startswith("conf/")


def test_the_index_links_to_every_page() -> None:
    linked = {match["page"] for match in LINK.finditer(text_of("extending/index"))}
    assert {f"{Path(it).name}.md" for it in EXTENDING} - {"index.md"} <= linked


COMMANDS = [(page, command) for page in PAGES for command in commands(page)]


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[" ".join(command)[:40] for _, command in COMMANDS])
def test_every_command_plays_debates(
    page: str, command: list[str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(page, here, monkeypatch)
    study = simulate(here, *command, "repetitions=2", "rounds=1")
    assert study.attitudes["valid"].all() and {*study.replies["repetition"]} == {0, 1}


def test_a_topic_is_one_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("extending/yaml", here, monkeypatch)
    study = simulate(here, "topic=student_debt", "repetitions=2", "rounds=1")
    assert {*study.attitudes["topic"]} == {"student_debt"}
    assert study.labels["student_debt"] == "student debt" and study.poles["democrat", "student_debt"] == "high"
    stories = study.agents.set_index("role")["story"]
    assert "student debt is not a problem at all" in stories["republican"].iloc[0]


def test_a_party_is_one_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("extending/yaml", here, monkeypatch)
    (command,) = (it for it in commands("extending/yaml") if any("libertarian" in word for word in it))
    study = simulate(here, *command, "repetitions=2", "rounds=1")
    names = study.agents.loc[study.agents["role"] == "libertarian", "name"]
    assert [*names] == ["Ayn", "Milton"] and study.labels["libertarian"] == "Libertarian"


def test_a_country_is_one_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("howto/country", here, monkeypatch)
    (command,) = commands("howto/country")
    study = simulate(here, *command, "repetitions=2", "rounds=1")
    assert study.poles == {("liberal", "climate_change"): "high", ("conservative", "climate_change"): "low"}
    observers = study.agents[~study.agents["speaks"]]
    assert {*observers["story"]} == {"You are Canadian."}


def test_a_prompt_is_one_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("extending/yaml", here, monkeypatch)
    asked = requests(here, "prompt=town_hall", "topic=racism", "repetitions=1", "rounds=1").asked
    assert all("You are at a town hall meeting about racism." in it.prompt for it in asked)
    assert all("you have the floor" in it.prompt for it in asked if it.turn.purpose == "reply")


def test_a_model_is_one_file_that_chooses_its_engine(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("extending/yaml", here, monkeypatch)
    of = compose("model=olmo2_1b", config_dir=here / "conf")
    assert (of.model.name, of.model.source, of.engine.kind) == ("olmo2_1b", "hub", "transformers")


def test_an_instrument_is_one_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("extending/yaml", here, monkeypatch)
    study = simulate(here, "instrument=agreement", "topic=racism", "repetitions=4", "engine.noise=0",
                     "engine.start_spread=0")  # fmt: skip
    attitudes = study.attitudes
    assert {*attitudes["item"]} == {"serious", "exaggerated"} and study.scale == (0, 10)
    assert {*attitudes.loc[attitudes["item"] == "serious", "wording"]} == {0, 1}
    answers = attitudes[(attitudes["role"] == "republican") & (attitudes["iteration"] == 0)].set_index("item")["raw"]
    assert {*answers["serious"]} == {"disagree"} and {*answers["exaggerated"]} == {"agree"}
    first = study.answers[(study.answers["role"] == "republican") & (study.answers["iteration"] == 0)]
    assert {*first["value"]} == {2.0}


def test_a_mitigation_in_words_is_one_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("extending/yaml", here, monkeypatch)
    asked = requests(here, "mitigation=own_words", "topic=racism", "repetitions=1", "rounds=2").asked
    treated = ["in your last turn you said" in it.prompt for it in asked]
    assert treated == [it.turn.purpose == "reply" and it.turn.iteration >= 3 for it in asked] and sum(treated) == 3


def test_a_statistic_is_one_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("extending/statistic", here, monkeypatch)
    study = simulate(here, "topic=racism", "repetitions=3", "rounds=1")
    table = analysis.statistics(study)
    mine = table[table["statistic"] == "verbosity"]
    words = study.replies["text"].str.split().str.len()
    assert [*mine["role"]] == ["default", "democrat", "republican"] and mine["ci_low"].notna().all()
    spoken = study.replies["role"] == "republican"
    assert mine["estimate"].iloc[2] == pytest.approx(words[spoken].groupby(study.replies["repetition"]).mean().mean())
    assert mine["sentence"].str.contains(r"^Republican agents used .* words \[.*\] per reply on racism").iloc[2]
    single = analysis.statistics(simulate(here, "topic=racism", "repetitions=1", "rounds=1"), ["verbosity"])
    assert single["sentence"].str.endswith("is not estimable: there is only one debate.").all()


def test_an_engine_is_one_file_and_its_yaml(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="engine=echo: there is no such option"):
        compose("engine=echo")
    install("extending/engine", here, monkeypatch)
    study = simulate(here, "engine=echo", "topic=racism", "repetitions=2", "rounds=1")
    assert study.attitudes.groupby("role")["score"].first().to_dict() == {
        "republican": 2, "democrat": 8, "default": 7, "shadow": 6}  # fmt: skip
    assert study.attitudes["expected"].isna().all()
    assert [*study.replies["text"].iloc[:2]] == [*study.design["engine"]["replies"]]
    assert study.manifest.promise == "answers come from a table; any rerun is the same"
    assert {*study.agents["runs_on"]} == {"echo on echo"} and study.manifest.model.name == "echo"


def test_the_page_lists_all_that_engines_can_do() -> None:
    assert all(f"`{it}`" in text_of("extending/engine") for it in get_args(Capability))


def test_an_engine_that_cannot_do_what_a_treatment_needs_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for page in ("extending/engine", "extending/mitigation"):
        install(page, here, monkeypatch)
    exec(compile((here / "needs.py").read_text(), "needs.py", "exec"), {"__name__": "needs"})
    guided = ["+treatments.guidance={kind: guidance, roles: null, scope: replies}", "topic=racism"]
    assert "guidance" in settings(here, *guided).treatments
    with pytest.raises(SettingsError, match=r"treatments\.guidance: it needs an engine with log-probabilities"):
        settings(here, "engine=echo", *guided)


def test_a_treatment_is_one_file_and_its_yaml(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("extending/mitigation", here, monkeypatch)
    everybody, republicans = commands("extending/mitigation")
    asked = requests(here, *everybody, "repetitions=1", "rounds=3").asked
    replies = [it.sampling.temperature for it in asked if it.turn.purpose == "reply"]
    assert replies == [1.0] * 3 + [0.5] * 3 + [0.25] * 3
    assert {it.sampling.temperature for it in asked if it.turn.purpose == "survey"} == {0.0}
    asked = requests(here, *republicans, "repetitions=1", "rounds=2").asked
    cooled = {it.turn.role: it.sampling.temperature for it in asked if it.turn.purpose == "reply"}
    assert cooled == {"republican": pytest.approx(0.8), "democrat": 1.0, "default": 1.0}
    study = simulate(here, *everybody, "repetitions=1", "rounds=1")
    assert {*study.agents["treatments"]} == {"cooling"}


def test_a_topology_is_one_function_and_its_yaml(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("extending/topology", here, monkeypatch)
    study = simulate(here, *commands("extending/topology")[0], "repetitions=1", "rounds=1")
    assert [*study.agents["hears"]] == ["all", "0", "0", "all"] and {*study.agents["topology"]} == {"star"}
    asked = requests(here, "topology=star", "topic=racism", "repetitions=1", "rounds=1").asked
    last = {it.turn.agent: it.prompt for it in asked if it.turn.iteration == 3}
    spoken = {place: [f"\n{study.agents['name'][other]}: " in prompt for other in range(3)]
              for place, prompt in last.items()}  # fmt: skip
    assert spoken == {
        0: [True, True, True], 1: [True, True, False], 2: [True, False, True], 3: [True, True, True]}  # fmt: skip


@pytest.mark.parametrize(
    ("page", "title", "prints"),
    [
        ("extending/statistic", "notebook.py", "Republican agents asked something in 0% of replies"),
        ("extending/topology", "notebook.py", "democrat     0"),
    ],
)
def test_a_notebook_runs_from_top_to_bottom(
    page: str, title: str, prints: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variables: dict[str, object] = {"__name__": "__main__"}
    for example in examples(page, "python"):
        if example.title == title:
            exec(compile(example.text, title, "exec"), variables)
    assert prints in capsys.readouterr().out
