"""The job of evaluate.py: benchmarks through lm-eval, their local data, attitudes, and Table 1."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers import PUBLISHED, cli, config, hustings
from tiny import tiny_model

from hustings import models, study
from hustings.errors import BenchmarkError, EngineError, RecordError, SettingsError
from hustings.evaluation import benchmarks, data, job, table
from hustings.runfolder import EvaluationManifest, hashes, pack, read_manifest, write_manifest
from hustings.settings import BenchmarkSettings, EvaluateSettings, SimulateSettings, load
from hustings.simulation import job as simulation


def settings(*overrides: str) -> EvaluateSettings:
    return load(EvaluateSettings, config(*overrides, name="evaluate"))


def hellaswag(number: int) -> dict[str, Any]:
    return {
        "activity_label": "Debating",
        "ctx_a": f"People debate [header] problem {number}.",
        "ctx_b": "they Say",
        "endings": [f"[step] that it is  {word}." for word in ("small", "big", "old", "new")],
        "label": str(number % 4),
    }


def mmlu(number: int) -> dict[str, Any]:
    return {"question": f" How big is problem {number}? ", "choices": ["0", "3", "7", "10"], "answer": number % 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with made-up documents: 12 of HellaSwag, 3 of each subject of MMLU."""
    folder = tmp_path_factory.mktemp("data")
    rows = {f"{data.HELLASWAG}/validation.jsonl": map(hellaswag, range(12))}
    for subject in data.subjects():
        rows |= {f"{data.MMLU}/{subject}/{split}.jsonl": map(mmlu, range(3)) for split in ("dev", "test")}
    for name, lines in rows.items():
        data._write(folder / name, lines)
    return data._describe(folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"))


def of_benchmark(folder: Path, *overrides: str) -> BenchmarkSettings:
    return settings(f"benchmark.data_dir={folder}", *overrides).benchmark


def test_a_task_from_the_folder_differs_from_lm_evals_in_where_its_data_are(folder: Path, tmp_path: Path) -> None:
    import lm_eval.tasks

    root = Path(lm_eval.tasks.__file__).parent
    changed = {}
    for copy in (path for path in benchmarks.redirect(folder, tmp_path).rglob("*") if path.is_file()):
        own, theirs = copy.read_text(), (root / copy.relative_to(tmp_path)).read_text()
        if own != theirs:
            changed[copy.name] = set(theirs.splitlines()) ^ set(own.splitlines())
    cache = f'dataset_kwargs: {{"cache_dir": "{tmp_path / "cache"}"}}'
    assert changed == {
        "hellaswag.yaml": {
            cache,
            "dataset_path: Rowan/hellaswag",
            f'dataset_path: "{folder / "Rowan/hellaswag"}"',
            "training_split: train",  # there are no training rows in this folder, and no shots are asked for
        },
        "_default_template_yaml": {cache, "dataset_path: cais/mmlu", f'dataset_path: "{folder / "cais/mmlu"}"'},
    }


def test_prompts_and_answers_are_those_that_lm_eval_makes_of_the_rows(folder: Path) -> None:
    swag = benchmarks.documents(of_benchmark(folder), "hellaswag").tasks["hellaswag"]
    document = swag.eval_docs[1]
    assert swag.doc_to_text(document) == "Debating: People debate problem 1. They say"
    assert swag.doc_to_choice(document)[:2] == [" that it is small.", " that it is big."]
    assert swag.doc_to_target(document) == 1
    asked = benchmarks.documents(of_benchmark(folder), "mmlu")
    anatomy = asked.tasks["mmlu_anatomy"]
    assert anatomy.doc_to_text(anatomy.eval_docs[2]) == "How big is problem 2?\nA. 0\nB. 3\nC. 7\nD. 10\nAnswer:"
    assert len(asked.tasks) == 57 and asked.count == 171
    assert "mmlu_anatomy" in asked.groups["mmlu_stem"] and len(asked.groups["mmlu"]) == 57


@pytest.mark.published
def test_published_benchmarks_are_imported_whole_and_word_for_word(tmp_path: Path) -> None:
    data.import_from(PUBLISHED, tmp_path)
    assert benchmarks.resolve(of_benchmark(tmp_path, "benchmark.limit=10042"))
    asked = benchmarks.documents(of_benchmark(tmp_path), "hellaswag")
    swag = asked.tasks["hellaswag"]
    with gzip.open(PUBLISHED / "hellaswag_val.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    assert asked.count == len(rows) == 10042
    different = [
        row["row"]
        for row, document in zip(rows, swag.eval_docs, strict=True)
        if (row["query"], row["endings"], row["label"]) != (document["query"], document["choices"], document["gold"])
    ]
    assert all("[" in f"{rows[row]['query']}{rows[row]['endings']}" for row in different) and len(different) < 20
    assert benchmarks.documents(of_benchmark(tmp_path), "mmlu").count == 14042


def test_a_limit_draws_at_random_by_the_seed_and_not_the_first_documents(folder: Path) -> None:
    def drawn(*overrides: str) -> Any:
        return benchmarks.documents(of_benchmark(folder, "benchmark.limit=5", *overrides), "hellaswag").samples

    assert drawn() == drawn() != drawn("benchmark.seed=2")
    assert drawn()["hellaswag"] == sorted(drawn()["hellaswag"]) != [0, 1, 2, 3, 4]
    mmlu = benchmarks.documents(of_benchmark(folder, "benchmark.limit=9"), "mmlu")
    assert mmlu.count == 9 and 1 < len(mmlu.tasks) <= 9


def test_a_share_is_drawn_from_every_task_of_a_group_and_rounded_up_as_in_lm_eval(folder: Path) -> None:
    tenth = of_benchmark(folder, "benchmark.limit=0.1")
    assert benchmarks.resolve(tenth)
    assert benchmarks.documents(tenth, "hellaswag").count == 2
    half = benchmarks.documents(of_benchmark(folder, "benchmark.limit=0.5"), "mmlu_other")
    assert half.samples is not None and [len(it) for it in half.samples.values()] == [2] * 13


def test_data_that_are_missing_or_malformed_are_named_by_file_and_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"there is no Rowan/hellaswag/validation\.jsonl.*fetch benchmarks"):
        benchmarks.resolve(of_benchmark(tmp_path))
    subprocess.run(["cp", "-r", f"{folder}/.", tmp_path], check=True)
    (tmp_path / data.MMLU / "virology" / "test.jsonl").unlink()
    with pytest.raises(BenchmarkError, match=r"cais/mmlu/virology/test\.jsonl"):
        benchmarks.resolve(of_benchmark(tmp_path))
    bad = tmp_path / data.HELLASWAG / "validation.jsonl"
    bad.write_text(bad.read_text().replace('"label": "2"', '"label": "7"', 1))
    with pytest.raises(BenchmarkError, match=r"validation\.jsonl, line 3: malformed \(label"):
        benchmarks.resolve(of_benchmark(tmp_path, "benchmark.tasks=[hellaswag]"))
    with pytest.raises(BenchmarkError, match=r"train\.jsonl"):
        benchmarks.resolve(of_benchmark(folder, "benchmark.num_fewshot=2"))


def test_a_limit_over_the_size_says_the_size(folder: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"benchmark\.limit=13: hellaswag has only 12 documents"):
        benchmarks.resolve(of_benchmark(folder, "benchmark.limit=13"))
    with pytest.raises(BenchmarkError, match="mmlu_stem has only 57 documents"):
        benchmarks.documents(of_benchmark(folder, "benchmark.limit=100"), "mmlu_stem")


def test_a_task_that_does_not_exist_gets_its_nearest_names(folder: Path) -> None:
    with pytest.raises(BenchmarkError, match="no task 'helaswag'; similar names are hellaswag"):
        benchmarks.resolve(settings("benchmark.tasks=[helaswag]").benchmark)
    for name, says in (("winogrande", r"subjects\)\. Set"), ("helaswag", "did you mean hellaswag")):
        with pytest.raises(BenchmarkError, match=f"{name} is not one of.*{says}"):
            benchmarks.resolve(of_benchmark(folder, f"benchmark.tasks=[{name}]"))


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["row=dpo_r8"], "set method=dpo"),
        (["row=nwp_r8", "adapter=x"], "set one of the two"),
        (["row=comparison"], "set comparison=llama2"),
        (["row=sft_r8"], "row='sft_r8'"),
        (["benchmark.attitude=labour"], "nobody of this role"),
        (["engine=planted"], "no model to measure"),
        (["benchmark.tasks=[]", "benchmark.attitude=null"], "nothing to measure"),
    ],
)
def test_impossible_settings_are_refused(overrides: list[str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        settings(*overrides)


def test_a_row_is_trained_as_train_py_would_train_it() -> None:
    of = settings("row=nwp_r64", "method=dpo", "questions=7")
    training = of.training(3)
    assert (training.method.kind, training.lora.r, training.lora.alpha, training.seed) == ("nwp", 64, None, 3)
    assert training.questions == 7 and training.method == of.method.nwp


@pytest.mark.parametrize("model", ["smollm2", "mistral"])
def test_table1_composes_with_the_papers_settings(model: str) -> None:
    of = settings("experiment=table1", f"model={model}", "row=dpo_r8", "comparison=null")
    training = of.training(1)
    assert of.seeds == (1, 2, 3) and of.benchmark.tasks == ("hellaswag", "mmlu") and [*of.topics] == ["racism"]
    assert (training.method.kind, training.method.beta, training.method.nwp.batch) == ("dpo", 0.5, 32)
    assert (training.questions, training.answers_per_question, of.repetitions) == (100, 20, 40)


ROW = [
    "model=hf", "model.source=local", "engine.precision=exact", "engine.device=cpu", "model.context=512",
    "method=dpo", "party=republican", "questions=2", "answers_per_question=2", "held_out=1", "method.batch=2",
    "method.nwp.batch=2", "batch_size=2", "precision=exact", "interview.answer_tokens=8", "interview.similarity=100",
    "benchmark.tasks=[hellaswag,mmlu_other]",
    "sampling.max_tokens=6", "repetitions=2", "rounds=1", "benchmark.limit=6", "benchmark.precision=exact",
]  # fmt: skip


def test_vllm_is_refused_where_lm_eval_would_not_find_it(
    tiny: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str, there: Callable[[str], str] = metadata.version) -> str:
        if name == "vllm":
            raise metadata.PackageNotFoundError(name)
        return there(name)

    monkeypatch.setattr(metadata, "version", version)
    chosen = ("benchmark.engine=vllm", "benchmark.tasks=[hellaswag]", "benchmark.limit=2")
    of = settings("model=hf", "model.source=local", f"model.path={tiny}", f"benchmark.data_dir={folder}", *chosen)
    (benchmark,) = benchmarks.resolve(of.benchmark)
    asked = partial(benchmarks.documents, of.benchmark)
    harness = benchmarks.Harness(of.benchmark, models.resolve(of.model), None, 512, asked, tmp_path)
    with pytest.raises(EngineError, match="needs the package vllm, which is not installed"):
        harness.scores(benchmark)


@pytest.fixture(scope="module")
def swept(tiny: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a small table was made: base, one row of next-word prediction, one of DPO, two seeds."""
    here = tmp_path_factory.mktemp("swept")
    stories = here / "personas.jsonl"
    stories.write_text("".join(
        json.dumps({"party": party, "name": f"{party[:3].title()}{n}", "story": f"You are {n} of the {party}s."}) + "\n"
        for party in ("republican", "democrat") for n in range(2)))  # fmt: skip
    done = cli(here, "-m", "row=base,nwp_r2,dpo_r2", "seeds=[1,2]", "train_missing=true", f"model.path={tiny}",
               f"benchmark.data_dir={folder}", f"personas.file={stories}", *ROW, script="evaluate.py",
               timeout=500)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (here / "out.txt").write_text(done.stdout)
    return here


def test_a_sweep_trains_what_is_missing_and_ends_in_a_table(swept: Path) -> None:
    (sweep,) = swept.glob("multirun/*/*/")
    made = pd.read_csv(sweep / "table1.csv")
    assert [*dict.fromkeys(made["label"])] == [made["label"][0], "r=2 NWP", "r=2 DPO"]
    assert {*made["column"]} == {"hellaswag", "mmlu_other", "attitude/racism", "attitude/racism/expected"}
    assert [*made.groupby("row", sort=False)["seeds"].first()] == [1, 2, 2]
    assert all((sweep / f"table1.{kind}").stat().st_size for kind in ("md", "tex", "png", "svg"))
    scores = pd.read_csv(sweep / "scores.csv")
    one = scores[(scores["row"] == "nwp_r2") & (scores["benchmark"] == "mmlu_other")]
    cell = made[(made["row"] == "nwp_r2") & (made["column"] == "mmlu_other")].iloc[0]
    assert cell["score"] == pytest.approx(one["score"].mean()) and len(one) == 2
    last = (swept / "out.txt").read_text().strip().splitlines()[-1]
    assert last == f"run: {sweep.relative_to(swept)}"


def test_each_job_leaves_a_manifest_its_debates_and_its_scores(swept: Path) -> None:
    (run,) = swept.glob("multirun/*/*/1")
    manifest = read_manifest(run, EvaluationManifest)
    assert manifest.settings["row"] == "nwp_r2" and len(manifest.adapters) == len(manifest.results) == 2
    assert all((run / source).is_dir() for sources in manifest.results.values() for source in sources)
    scores = pd.read_csv(run / "scores.csv")
    assert {*scores["seed"]} == {1, 2} and {*scores["adapter_id"]} == {*manifest.adapters}
    attitudes = scores[scores["benchmark"] == "attitude/racism"]
    assert {*zip(attitudes["low"], attitudes["high"], strict=True)} == {(0, 10)}
    debates = study.load(run / "debates-1").analysed_as("score")
    last = debates.answers[(debates.answers["role"] == "default") & (debates.answers["iteration"] == 3)]
    score = attitudes[(attitudes["seed"] == 2) & (attitudes["metric"] == "score")].iloc[0]
    assert score["score"] == pytest.approx(last["value"].mean()) and score["n"] == len(last) == 2
    assert debates.manifest.adapter is not None and debates.manifest.adapter.id == score["adapter_id"]


def test_scores_are_means_of_what_lm_eval_says_of_each_document(swept: Path) -> None:
    for kept in swept.glob("artifacts/benchmarks/*-mmlu_other-*"):
        with gzip.open(kept / benchmarks.SAMPLES, "rt") as lines:
            right = pd.Series([json.loads(line)["acc"] for line in lines])
        score = json.loads((kept / benchmarks.SCORES).read_text())[0]
        assert score["benchmark"] == "mmlu_other" and score["n"] == len(right) == 6
        assert score["score"] == pytest.approx(right.mean()) and score["stderr"] == pytest.approx(right.sem())


def test_a_finished_cell_is_not_computed_again(swept: Path, tiny: Path, folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in swept.glob("artifacts/*/*/*") if path.name != ".lock"}
    done = cli(swept, "row=nwp_r2", "seeds=[1,2]", f"model.path={tiny}", f"benchmark.data_dir={folder}",
               f"personas.file={swept / 'personas.jsonl'}", *ROW, script="evaluate.py")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "documents" not in done.stderr and "training" not in done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_the_command_line_of_lm_eval_says_the_same_of_every_document(
    swept: Path, tiny: Path, folder: Path, tmp_path: Path
) -> None:
    """The base cell beside `lm_eval`, on the same documents, tasks and numbers."""
    (kept,) = swept.glob("artifacts/benchmarks/*-base-hellaswag-*")
    with gzip.open(kept / benchmarks.SAMPLES, "rt") as lines:
        ours = {row["doc_id"]: row for row in map(json.loads, lines)}
    tasks = benchmarks.redirect(folder, tmp_path / "tasks")
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--tasks", "hellaswag", "--device", "cpu",
               "--model_args", f"pretrained={tiny},dtype=float32,max_length=512", "--batch_size", "16",
               "--include_path", str(tasks), "--samples", json.dumps({"hellaswag": sorted(ours)}),
               "--output_path", str(tmp_path / "out"), "--log_samples"]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (written,) = tmp_path.glob("out/**/samples_hellaswag_*.jsonl")
    theirs = {row["doc_id"]: row for row in map(json.loads, written.read_text().splitlines())}
    assert theirs.keys() == ours.keys()
    for place, row in theirs.items():
        assert (row["acc"], row["acc_norm"], row["doc_hash"]) == tuple(
            ours[place][key] for key in ("acc", "acc_norm", "doc_hash")
        )
        assert row["arguments"]["gen_args_0"]["arg_0"] == ours[place]["arguments"][0][0]


def test_without_train_missing_the_error_says_how_to_train(tiny: Path, folder: Path, tmp_path: Path) -> None:
    done = cli(tmp_path, "row=nwp_r2", f"model.path={tiny}", f"benchmark.data_dir={folder}", *ROW, script="evaluate.py")
    assert done.returncode == 2 and "train_missing=true" in done.stderr and "lora.r=2" in done.stderr
    assert not (tmp_path / "outputs").exists()


def scores_of(rows: dict[str, tuple[float, float]]) -> pd.DataFrame:
    lines = [
        {"row": row, "model": "big" if row == "comparison" else "m", "adapter": "", "adapter_id": "", "seed": seed,
         "benchmark": benchmark, "metric": metric, "score": value + 0.001 * seed, "stderr": 0.02, "n": 100,
         "low": 0 if benchmark.startswith("attitude") else None,
         "high": 10 if benchmark.startswith("attitude") else None}
        for row, (swag, attitude) in rows.items() for seed in (1, 2, 3)
        for benchmark, metric, value in (("hellaswag", "acc", 0.1), ("hellaswag", "acc_norm", swag),
                                         ("attitude/racism", "score", attitude))
        if not (row == "comparison" and benchmark.startswith("attitude"))
    ]  # fmt: skip
    return pd.DataFrame(lines)


PAPER = {
    "dpo_r8": (0.814, 0.4), "nwp_r256": (0.738, 1.9), "base": (0.836, 8.4), "nwp_r16": (0.818, 5.1),
    "comparison": (0.772, 0.0), "nwp_r64": (0.812, 4.3), "nwp_r128": (0.797, 2.5),
}  # fmt: skip


def test_rows_stand_in_the_papers_order_and_those_below_the_comparison_have_an_asterisk() -> None:
    made = table.table1(scores_of(PAPER), ["hellaswag"])
    text = table.markdown(made, table.inverse(made))
    labels = ["m", "r=16 NWP", "r=64 NWP", "r=128 NWP", "r=256 NWP", "r=8 DPO", "big"]
    assert [line.split("|")[1].strip() for line in text.splitlines()[2:9]] == labels
    assert [line for line in text.splitlines() if "*" in line and "|" in line] == [
        "| r=256 NWP | 74.0 ± 2.0* | 1.9 ± 0.0 |"
    ]
    tex = table.latex(made, "m")
    assert "Attitude, racism (0–10)" in text
    assert r"\toprule" in tex and r"74.0 $\pm$ 2.0*" in tex and r"HellaSwag (\%)" in tex


def test_the_inverse_relation_is_a_rank_correlation_over_nwp_rows() -> None:
    made = table.table1(scores_of(PAPER), ["hellaswag"])
    (line,) = table.inverse(made).to_dict("records")
    assert (line["n"], line["rho"]) == (4, pytest.approx(-1.0)) and line["p"] == pytest.approx(1 / 24)
    few = table.table1(scores_of({row: PAPER[row] for row in ("base", "nwp_r16", "nwp_r64")}), ["hellaswag"])
    assert "not estimable, a rank correlation needs three NWP rows" in table.inverse(few)["sentence"][0]


def evaluated(folder: Path, low: float, high: float) -> Path:
    """The folder of an evaluation on an instrument with this scale."""
    scores = scores_of({"base": (0.8, low + 1), "nwp_r16": (0.7, high)})
    attitude = scores["benchmark"].str.startswith("attitude")
    folder.mkdir()
    scores.assign(low=scores["low"].where(~attitude, low), high=scores["high"].where(~attitude, high)).to_csv(
        folder / "scores.csv", index=False
    )
    plain = settings("benchmark.tasks=[hellaswag]").model_dump(mode="json")
    write_manifest(folder, EvaluationManifest(command=["evaluate.py"], versions={}, settings=plain, results={},
                                              models={}, adapters=[], seconds=1.0, commit=None))  # fmt: skip
    return folder


def test_an_attitude_has_the_scale_of_its_instrument(tmp_path: Path) -> None:
    made, tests = table.write([evaluated(tmp_path / "run", 1, 7)], tmp_path)
    assert "| Attitude, racism (1–7) |" in table.markdown(made, tests)
    assert table.shown(made, tests)["columns"] == ["HellaSwag (%)", "Attitude, racism (1–7)"]
    assert "Attitude, racism (1–7)" in (tmp_path / "table1.svg").read_text()
    again = pd.read_csv(tmp_path / "table1.csv")
    assert {*again.loc[again["column"] == "attitude/racism", "high"]} == {7} and again["high"].isna().any()


def test_the_table_of_one_evaluation_leaves_its_scores_as_they_were(tmp_path: Path) -> None:
    run = evaluated(tmp_path / "run", 0, 10)
    manifest = read_manifest(run, EvaluationManifest)
    write_manifest(run, manifest.model_copy(update={"files": hashes(run, ["scores.csv"])}))
    first, _ = table.write([run], run)
    again, _ = table.write([run], run)
    assert again.equals(first)
    (packed,) = pack(run, tmp_path / "packed")
    assert table.write([packed], packed)[0].equals(first)


def test_attitudes_on_different_scales_are_not_put_into_one_table(tmp_path: Path) -> None:
    folders = [evaluated(tmp_path / "a", 0, 10), evaluated(tmp_path / "b", 1, 7)]
    with pytest.raises(RecordError, match=r"different scales \(0 … 10, 1 … 7\).*a table for each instrument"):
        table.read(folders)


def test_evaluations_with_other_settings_are_not_averaged_as_if_they_were_trainings(tmp_path: Path) -> None:
    runs = [evaluated(tmp_path / name, 0, 10) for name in "ab"]
    manifest = read_manifest(runs[1], EvaluationManifest)
    other = {**manifest.settings, "benchmark": {**manifest.settings["benchmark"], "limit": 3}}
    write_manifest(runs[1], manifest.model_copy(update={"settings": other}))
    with pytest.raises(RecordError, match=r"differs from the first one in benchmark\.limit.*a table for each"):
        table.read(runs)


def test_two_models_have_rows_and_tests_of_their_own() -> None:
    one = scores_of({"base": (0.8, 5), "nwp_r16": (0.7, 3), "nwp_r64": (0.6, 2), "nwp_r256": (0.5, 1)})
    both = pd.concat([one, one.assign(model="other", score=one["score"] / 2)])
    made = table.table1(both, ["hellaswag"])
    labels = ["m", "m, r=16 NWP", "m, r=64 NWP", "m, r=256 NWP"]
    assert [*dict.fromkeys(made["label"])] == [*labels, "other", *(it.replace("m,", "other,") for it in labels[1:])]
    base = made[(made["row"] == "base") & (made["column"] == "hellaswag")].set_index("model")["score"]
    assert base["m"] == pytest.approx(2 * base["other"])
    tests = table.inverse(made)
    assert [*tests["model"]] == ["m", "other"] and [*tests["rho"]] == [-1, -1]
    assert table.markdown(made, tests).count("| other") == 4


def test_a_folder_that_is_not_an_evaluations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"manifest\.json is missing"):
        table.read([tmp_path])
    (evaluated(tmp_path / "run", 0, 10) / "scores.csv").unlink()
    with pytest.raises(RecordError, match=r"scores\.csv is missing or damaged"):
        table.read([tmp_path / "run"])


def planted(folder: Path, *overrides: str) -> study.Study:
    of = load(SimulateSettings, config("engine=planted", "topic=racism", f"artifacts={folder}", *overrides))
    return study.load(simulation.run(of, folder / "run", []).folder)


def test_an_attitude_is_the_mean_over_debates_at_the_last_survey(tmp_path: Path) -> None:
    debates = planted(tmp_path, "repetitions=4", "rounds=2", "composition=echo_rep")
    score, expected = job._attitudes(debates, "republican")
    last = debates.attitudes[(debates.attitudes["iteration"] == 6) & (debates.attitudes["role"] == "republican")]
    each = last.groupby("repetition")["expected"].mean().astype(float)
    assert len(last) == 8 and (score.benchmark, score.metric, score.n) == ("attitude/racism", "score", 4)
    assert (expected.metric, expected.score) == ("expected", pytest.approx(each.mean()))
    assert expected.stderr == pytest.approx(each.sem())


def test_an_attitude_on_another_scale_is_measured_on_it(tmp_path: Path) -> None:
    scale = ["instrument.items.severity.values=[-5,-4,-3,-2,-1,0,1,2,3,4,5]", "engine.start_low=-3",
             "engine.start_high=3", "engine.bias=-4.5", "engine.noise=0", "engine.beta=0.9"]  # fmt: skip
    debates = planted(tmp_path, "repetitions=2", *scale)
    assert debates.scale == (-5, 5)
    assert -5 <= job._attitudes(debates, "default")[1].score < -3.5


def test_a_role_without_a_valid_answer_has_no_attitude(tmp_path: Path) -> None:
    debates = planted(tmp_path, "repetitions=2")
    debates.attitudes[["score", "expected"]] = None
    debates.attitudes["valid"] = False
    assert job._attitudes(debates, "default") == []


def test_fetch_says_what_is_wrong_with_a_source(tmp_path: Path) -> None:
    done = hustings("fetch", "benchmarks", "--from", str(tmp_path), "--to", str(tmp_path / "to"))
    assert done.returncode == 2 and "there is no hellaswag_val.jsonl.gz" in done.stderr
