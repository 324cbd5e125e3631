"""A model whose answers are of no use stops the run early; a few bad answers do not."""

from collections.abc import Callable
from pathlib import Path

import pytest
from endpoint import Endpoint, answer
from helpers import Scripted, cli, config, logs_of, planted, settings, simulate, starts_of

from hustings import distributed, engine, records
from hustings.debate.alarm import Alarm, blank
from hustings.debate.play import Listener, Rules
from hustings.engine.base import Answer, Completion, Engine, Request, Score
from hustings.errors import AlarmError, SettingsError
from hustings.records import Agent, Event, Start, Survey
from hustings.settings import AlarmSettings, SimulateSettings, load
from hustings.simulation.plan import by_debate

Change = Callable[[Request, Answer], Answer]
RUN = ("repetitions=8", "topic=racism", "rounds=2")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], list[Request]]:
    """Puts a function between the planted engine and the run; the requests that were made."""
    seen: list[Request] = []

    def changed(change: Change) -> list[Request]:
        def build(of: object, order: engine.Order) -> Engine:
            assert isinstance(order.debates, SimulateSettings)
            inner = planted(order.debates)

            def say(request: Request) -> Answer:
                seen.append(request)
                (made,) = inner._list([request])
                return change(request, made)

            return Scripted(say)

        monkeypatch.setattr(engine, "build", build)
        return seen

    return changed


def unreadable(request: Request, made: Answer) -> Answer:
    said = "As an AI, I cannot\nhave an opinion on this. " * 4
    return Score(None, said, 9, 9) if isinstance(made, Score) else made


def silent(request: Request, made: Answer) -> Answer:
    return (
        made if isinstance(made, Score) or request.turn.purpose == "persona" else Completion(" \n\u200b ", 9, 9, "stop")
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (unreadable, r"20 of 20 survey answers of planted on planted are invalid, which is above alarm\.invalid=0\.5, "
                     r".*everything up to here is kept.*'As an AI, I cannot have an opinion on this\. As an AI, .*…'"
                     r".*engine\.logprobs.*model=…, prompt=….*alarm\.invalid \(1 never stops it\): nothing is asked"),
        (silent, r"20 of 20 replies of planted on planted are empty, which is above alarm\.empty=0\.5.*look like this: "
                 r"'\\u200b'\. Raise sampling\.max_tokens .*prompt=…, model=….*alarm\.empty \(1 never"),
    ],
)  # fmt: skip
def test_a_model_without_a_usable_answer_stops_the_run_early_and_a_higher_share_goes_on(
    tmp_path: Path, asked: Callable[[Change], list[Request]], change: Change, said: str
) -> None:
    seen = asked(change)
    with pytest.raises(AlarmError, match=said) as stopped:
        simulate(tmp_path, *RUN)
    assert "\n" not in str(stopped.value)
    (log,) = logs_of(tmp_path / "artifacts")
    first, kept = len(seen), list(records.read(log))
    assert first < 150
    with pytest.raises(AlarmError):
        simulate(tmp_path, *RUN)
    assert len(seen) == first
    outcome = simulate(tmp_path, *RUN, "alarm.invalid=1", "alarm.empty=1")
    assert outcome.played == 8
    assert list(records.read(log))[: len(kept)] == kept
    answered = [it for it in seen if it.turn.purpose == "survey"]
    assert len({it.seed for it in answered}) == len(answered)


def test_a_few_bad_answers_stop_nothing(tmp_path: Path, asked: Callable[[Change], list[Request]]) -> None:
    asked(lambda request, made: unreadable(request, made) if request.seed % 4 == 0 else made)
    assert simulate(tmp_path, *RUN).invalid > 10


def test_a_short_run_without_one_valid_answer_ends_with_an_error_too(
    tmp_path: Path, asked: Callable[[Change], list[Request]]
) -> None:
    asked(unreadable)
    short = ("repetitions=1", "topic=racism", "rounds=1", "composition=rep_dem", "shadow=false")
    with pytest.raises(AlarmError, match="5 of 5 survey answers"):
        simulate(tmp_path, *short)
    with pytest.raises(AlarmError, match="5 of 5 survey answers"):
        simulate(tmp_path, *short)
    assert simulate(tmp_path, *short, "alarm.invalid=1").played == 0


def test_a_finished_run_of_invalid_answers_is_not_silent_when_it_is_run_again(
    tmp_path: Path, asked: Callable[[Change], list[Request]]
) -> None:
    seen = asked(unreadable)
    simulate(tmp_path, *RUN, "alarm.invalid=1")
    first = len(seen)
    with pytest.raises(AlarmError):
        simulate(tmp_path, *RUN)
    assert len(seen) == first


def test_of_two_models_the_one_that_says_nothing_usable_is_named() -> None:
    agents = tuple(Agent(role=it, persona="p", name=it, story="s", runs_on=f"{it} on x") for it in ("good", "bad"))
    events: list[Event] = [Start(debate="t/c/0", agents=agents, first=0)]
    events += [
        Survey(debate="t/c/0", iteration=number, agent=agent, item="i", wording=0, value=None, expected=None,
               logprobs=None, mass=None, valid=agent == 0, raw="?")
        for number in range(20) for agent in (0, 0, 0, 1)
    ]  # fmt: skip
    alarm = Alarm(AlarmSettings(invalid=0.5, empty=0.5, after=20))
    alarm.read(events)
    with pytest.raises(AlarmError, match="20 of 20 survey answers of bad on x are invalid"):
        alarm.check()


@pytest.mark.parametrize(
    ("text", "seen"), [("", False), (" \t\n\u00a0\u200b\ufeff\u2028", False), ("–", True), ("\u200bप्रिया", True)]
)
def test_a_text_of_spaces_and_invisible_characters_is_blank(text: str, seen: bool) -> None:
    assert blank(text) is not seen


def test_an_endpoint_that_answers_surveys_with_prose_ends_the_command_in_one_paragraph(tmp_path: Path) -> None:
    def respond(body: dict, key: str) -> tuple[int, dict]:
        made = answer(body, logprobs=False)
        if "Answer with one number" in body["messages"][0]["content"]:
            made["choices"][0]["message"]["content"] = "It is hard to say."
        return 200, made

    with Endpoint(respond=respond) as endpoint:
        server = (f"engine.base_url={endpoint.url}", "engine=openai_server", "model=api", "model.id=x")
        done = cli(tmp_path, *server, "engine.logprobs=0", *RUN)
    assert (done.returncode, done.stdout) == (2, "")
    assert "'It is hard to say.'" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


NO_PROBABILITIES = ("engine=openai_server", "model=api", "model.id=x", "engine.logprobs=0")


def test_expected_values_without_log_probabilities_are_refused_before_anything_is_asked() -> None:
    said = r"analysis\.outcome=expected: engine=openai \(role \w+\) gives no log-prob.*set analysis\.outcome=score"
    with pytest.raises(SettingsError, match=said):
        load(SimulateSettings, config(*NO_PROBABILITIES, "analysis.outcome=expected"))


def test_what_is_analysed_follows_the_engines_unless_it_is_set() -> None:
    assert settings().analysis.outcome == "expected"
    assert settings("analysis.outcome=score").analysis.outcome == "score"
    assert load(SimulateSettings, config(*NO_PROBABILITIES)).analysis.outcome == "score"


def test_each_process_of_a_shared_run_stops_too(tmp_path: Path) -> None:
    of = settings("repetitions=8", "topic=racism")
    inner = planted(of)
    engine_of_rank = Scripted(lambda request: unreadable(request, inner._list([request])[0]))
    sharing = distributed.Sharing(of.trainer, of.engine, of.alarm, Rules.of(of))
    starts = starts_of(of)
    share = distributed._Share(sharing, lambda: engine_of_rank, Listener())
    with pytest.raises(AlarmError, match="20 of 20 survey answers"):
        share.play(distributed.Work({"racism": str(tmp_path)}, starts), starts, 1)
    kept = [*records.read(tmp_path / "events.rank1.jsonl")]
    assert sum(isinstance(it, Survey) for it in kept) == 20
    again = distributed.Work({"racism": str(tmp_path)}, starts, by_debate(kept))
    with pytest.raises(AlarmError):
        distributed._Share(sharing, lambda: engine_of_rank, Listener()).play(again, starts, 1)
