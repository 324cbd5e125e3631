"""The planted engine is the ground truth: its attitudes follow the written dynamics and nothing else."""

from statistics import fmean

import pytest
from helpers import LIKERT, Recorder, planted, play_all, settings, starts_of

from hustings.engine.planted import PlantedSettings
from hustings.errors import SettingsError
from hustings.records import Event, Reply, Start, Survey
from hustings.settings import SimulateSettings

CASES = {
    "three": ("composition=rep_dem_default", "rounds=5"),
    "pair with observer": ("composition=echo_rep_pair", "rounds=6"),
    "uk four": ("society=uk", "composition=uk_mixed", "rounds=4"),
    "reversed": ("prompt=reversed_scale", "rounds=5"),
    "conversation": ("prompt=conversation", "rounds=3"),
    "pushed over the end": ("engine.alpha=-0.9", "rounds=4"),
    "model only": ("engine.alpha=0", "engine.kappa=0", "engine.beta=0.5", "rounds=4"),
}


def run(*overrides: str) -> tuple[SimulateSettings, list[Event]]:
    topic = "immigration_cap" if "society=uk" in overrides else "racism"
    of = settings("repetitions=3", f"topic={topic}", *overrides)
    return of, play_all(of, planted(of))


def attitudes_of(events: list[Event], debate: str, agent: int) -> dict[int, float]:
    return {
        it.iteration: it.expected
        for it in events
        if isinstance(it, Survey) and (it.debate, it.agent) == (debate, agent) and it.expected is not None
    }


@pytest.mark.parametrize("case", CASES)
def test_without_noise_attitudes_follow_the_dynamics_exactly(case: str) -> None:
    of, events = run("engine.noise=0", "engine.start_spread=1.3", *CASES[case])
    engine = of.engine
    assert isinstance(engine, PlantedSettings)
    for start in starts_of(of):
        speakers = [place for place, agent in enumerate(start.agents) if agent.speaks]
        measured = [attitudes_of(events, start.debate, place) for place in range(len(start.agents))]
        stated = {(it.iteration, it.agent): it.text for it in events
                  if isinstance(it, Reply) and it.debate == start.debate}  # fmt: skip
        firsts = [float(stated[it, agent].split()[-1].rstrip(".")) for it, agent in sorted(stated)[: len(speakers)]]
        first = dict(zip((agent for _, agent in sorted(stated)[: len(speakers)]), firsts, strict=True))
        now = dict(first)
        for round_ in range(of.rounds + 1):
            for place in speakers:
                inside = min(max(now[place], 0.0), 10.0)
                assert measured[place][round_ * len(speakers)] == pytest.approx(inside, abs=2e-5)
            after = {}
            for place in speakers:
                others = fmean(now[other] for other in speakers if other != place)
                after[place] = (
                    now[place]
                    + engine.beta * (engine.bias - now[place])
                    + engine.alpha * (others - now[place])
                    + engine.kappa * (first[place] - now[place])
                )
            now = after


def test_partisans_start_at_the_pole_of_their_party_and_defaults_at_the_bias() -> None:
    for prompt in ("paper", "reversed_scale"):
        of = settings("repetitions=40", "topic=[racism,illegal_immigration]", f"prompt={prompt}")
        start = [it for it in play_all(of, planted(of)) if isinstance(it, Survey) and it.iteration == 0]
        mean = {
            (topic, agent): fmean(it.expected or 0 for it in start if it.debate.startswith(topic) and it.agent == agent)
            for topic in of.topics
            for agent in range(3)
        }
        low, high = pytest.approx(2.0, abs=0.5), pytest.approx(8.5, abs=0.5)
        assert [mean["racism", agent] for agent in range(3)] == [low, high, pytest.approx(6.5, abs=1e-5)]
        assert [mean["illegal_immigration", agent] for agent in range(2)] == [high, low]


def test_noise_is_drawn_anew_each_round_with_the_set_spread() -> None:
    quiet, noisy = (
        run("engine.start_spread=0", "engine.alpha=0", "engine.beta=0", "engine.kappa=0", "repetitions=40",
            "rounds=4", f"engine.noise={noise}")[1]
        for noise in (0, 0.3)
    )  # fmt: skip
    pairs = zip(quiet, noisy, strict=True)
    last = [(one.expected or 0) - (two.expected or 0) for one, two in pairs
            if isinstance(one, Survey) and isinstance(two, Survey) and one.iteration == 12]  # fmt: skip
    assert len(last) == 160
    spread = (sum(value**2 for value in last) / len(last)) ** 0.5
    assert spread == pytest.approx(0.3 * 4**0.5, rel=0.2)
    assert fmean(last) == pytest.approx(0, abs=0.15)


def test_a_run_is_the_same_twice_and_another_with_another_seed() -> None:
    one, two, other = run("seed=1")[1], run("seed=1")[1], run("seed=2")[1]
    assert one == two
    assert one != other


def test_agents_among_whom_nobody_speaks_keep_the_attitude_that_they_came_with() -> None:
    of, events = run("control=retest")
    for start in starts_of(of):
        for place in range(len(start.agents)):
            assert len(set(attitudes_of(events, start.debate, place).values())) == 1


def test_answers_of_the_planted_engine_do_not_depend_on_the_order_of_requests() -> None:
    of = settings("repetitions=2", "topic=racism")
    first = Recorder(planted(of))
    play_all(of, first)
    again = Recorder(planted(of))
    again._list(list(reversed(first.asked)))
    assert dict(zip(again.asked, again.answered, strict=True)) == dict(zip(first.asked, first.answered, strict=True))


def test_a_planted_attitude_that_is_not_on_the_instruments_scale_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"engine\.bias=6\.5: .* likert run from 1 to 5"):
        settings(*LIKERT, "engine.bias=6.5")


def test_options_in_words_have_the_attitude_as_their_mean() -> None:
    of = settings(*LIKERT, "repetitions=3", "topic=racism", "engine.noise=0")
    answers = [it for it in play_all(of, planted(of)) if isinstance(it, Survey)]
    default = [it.expected for it in answers if it.agent == 2 and it.iteration == 0]
    assert {it.item for it in answers} == {"problem", "exaggerated"}
    assert all(it.valid and it.raw in of.instrument.items[it.item].options for it in answers)
    assert default == pytest.approx([3.5] * len(default), abs=1e-5)


@pytest.mark.parametrize("control", ["none", "reader", "advocates_both"])
@pytest.mark.parametrize("prompt", ["paper", "sauce_like"])
def test_what_is_played_does_not_depend_on_names(control: str, prompt: str) -> None:
    plain = ("repetitions=2", "topic=racism", "rounds=2", f"control={control}", f"prompt={prompt}")
    odd = ("society.parties.republican.names=['Dr: Lee','Ann 1.000000.']", "society.parties.democrat.names=[Ann,A.*]",
           "society.default.names=['Martin Jr.','王伟','I','{name}','of','say','José','Annabel']")  # fmt: skip
    one, other = (
        [it.model_dump_json() for it in play_all(of, planted(of)) if not isinstance(it, Start)]
        for of in (settings(*plain), settings(*plain, *odd))
    )
    assert len(one) > 20
    assert one == other


def test_a_speaker_shown_as_me_hears_itself() -> None:
    _, shown = run("prompt=sauce_like", "engine.noise=0")
    _, named = run("engine.noise=0")
    assert [it for it in shown if isinstance(it, Survey)] == [it for it in named if isinstance(it, Survey)]
