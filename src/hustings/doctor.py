"""What this machine can run: hardware, packages, keys, weights, and the most suitable model.

It loads no model and imports no engine. It only checks whether keys are set.
"""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hustings.configuration import conf_folder
from hustings.errors import SettingsError
from hustings.progress import duration

if TYPE_CHECKING:
    from rich.console import RenderableType

PACKAGES = {
    "openvino-genai": "engine=openvino",
    "torch": "engine=transformers, train.py",
    "transformers": "engine=transformers, train.py",
    "bitsandbytes": "engine=transformers_8bit, quantization",
    "vllm": "engine=vllm",
    "openai": "engine=openai",
    "pytorch-lightning": "trainer.devices",
    "hydra-joblib-launcher": "cluster=joblib",
    "hydra-submitit-launcher": "cluster=slurm",
    "hydra-ray-launcher": "cluster=ray",
    "wandb": "tracker=wandb",
}
KEYS = {
    "OPENAI_API_KEY": "models of an API",
    "HF_TOKEN": "models whose licence is accepted on the hub",
    "WANDB_API_KEY": "tracker=wandb tracker.mode=online",
}
_GB = 1024**3


@dataclass(frozen=True, slots=True)
class Machine:
    """The hardware of a machine."""

    processor: str
    cores: int
    memory: float
    """Memory in total, GB."""
    free_memory: float
    """Memory that is free, GB."""
    free_disk: float
    """Free space on the disk that holds the models, GB."""
    gpus: tuple[tuple[str, float], ...]
    """Name of each GPU and its memory in GB, as reported by nvidia-smi."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model in conf/model, and what is known about it on this machine."""

    name: str
    engine: str
    source: str
    licence: str
    memory: float | None
    """Memory that its engine needs, GB; None for a model behind an API."""
    here: bool
    """Whether its weights are on this machine."""
    retired: bool
    holds_persona: str | None
    """`yes`, `barely` or `no`; None if it has not been measured."""

    def place(self, machine: Machine) -> str:
        """Where the model runs: `GPU`, `CPU`, `CPU, slowly`, `API` or `no`."""
        if self.retired:
            return "no longer served"
        if self.memory is None:
            return "API"
        if self.engine.startswith("openvino"):
            return "CPU" if self.memory <= machine.memory else "no"
        if self.memory <= max((memory for _, memory in machine.gpus), default=0.0):
            return "GPU"
        return "CPU, slowly" if 2 * self.memory <= machine.memory else "no"  # float32 needs twice the memory


def machine() -> Machine:
    """The hardware of this machine."""
    import psutil

    from hustings.models import hub_cache

    memory = psutil.virtual_memory()
    cache = hub_cache().absolute()
    place = next(path for path in (cache, *cache.parents) if path.exists())
    return Machine(
        _processor(),
        psutil.cpu_count(logical=False) or os.cpu_count() or 1,
        memory.total / _GB,
        memory.available / _GB,
        shutil.disk_usage(place).free / _GB,
        _gpus(),
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _gpus() -> tuple[tuple[str, float], ...]:
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)
        rows = [line.rpartition(",") for line in done.stdout.splitlines() if line.strip()]
        return tuple((name.strip(), float(memory) / 1024) for name, _, memory in rows)
    except (OSError, ValueError, subprocess.SubprocessError):
        return ()


def models(conf: Path) -> list[Model]:
    """The models in conf/model whose config names their weights, smallest first.

    Args:
        conf: the folder of configs.

    Raises:
        SettingsError: the folder has no model configs.
    """
    from omegaconf import OmegaConf

    files = sorted((conf / "model").glob("*.yaml"))
    if not files:
        raise SettingsError(f"{conf / 'model'}: there are no model configs; install Hustings again.")
    found = [model for file in files if (model := _model(file.stem, OmegaConf.to_container(OmegaConf.load(file))))]
    return sorted(found, key=lambda model: (model.memory is None, model.memory or 0.0, model.name))


def _model(name: str, plain: Any) -> Model | None:
    if plain.get("path") == "???" or (plain.get("source") == "hub" and not plain.get("id")):
        return None
    inherited = [entry for entry in plain.get("defaults", []) if isinstance(entry, dict)]
    engine = next((str(value) for entry in inherited for key, value in entry.items() if "engine" in str(key)), "")
    return Model(
        name,
        engine,
        plain.get("source", ""),
        plain.get("licence") or "–",
        plain.get("memory_gb"),
        _here(plain),
        bool(plain.get("retired")),
        plain.get("holds_persona"),
    )


def _here(plain: Any) -> bool:
    if plain.get("source") == "embedded":
        from hustings import downloads
        from hustings.models import cache_folder

        return downloads.found(downloads.MODELS[plain["id"]], cache_folder() / "models") is not None
    if plain.get("source") != "hub":
        return False
    from hustings.models import hub_cache

    folder = hub_cache() / f"models--{plain['id'].replace('/', '--')}"
    return any(folder.glob("snapshots/*/*.safetensors"))


def best(found: Iterable[Model], on: Machine) -> Model | None:
    """The largest model that runs at full speed on this machine and is not known to lose its persona.

    Models whose weights are on this machine come first. If every model that fits loses its persona, the largest is
    taken.
    """
    found = list(found)
    for holding in (True, False):
        for place in ("GPU", "CPU"):
            ready = [it for it in found if it.place(on) == place and (it.holds_persona != "no") == holding]
            if ready:
                return max(ready, key=lambda model: (model.here, model.memory or 0.0))
    return None


def versions() -> dict[str, str]:
    """Versions of the packages that engines and launchers need; empty for those that are not installed."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = ""
    return found


def shown(on: Machine, found: Sequence[Model]) -> "list[RenderableType]":
    """All parts of the output for the terminal."""
    from rich.table import Table

    gpus = ", ".join(f"{name} ({memory:.0f} GB)" for name, memory in on.gpus) or "none that nvidia-smi reports"
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_row("processor", f"{on.processor}, {on.cores} cores")
    facts.add_row("memory", f"{on.memory:.0f} GB, {on.free_memory:.0f} GB free")
    facts.add_row("GPU", gpus)
    facts.add_row("disk", f"{on.free_disk:.0f} GB free for models")
    installed = versions()
    if on.gpus and "+cpu" in installed["torch"]:
        facts.add_row("", "torch is built without CUDA, so it uses no GPU; install a CUDA build of torch")
    packages = Table("package", "version", "for", box=None, pad_edge=False)
    for package, use in PACKAGES.items():
        packages.add_row(package, installed[package] or "not installed", use)
    keys = Table("key", "", "for", box=None, pad_edge=False)
    for key, use in KEYS.items():
        keys.add_row(key, "set" if os.environ.get(key) else "not set", use)
    table = Table("model", "engine", "needs", "weights", "runs on", "persona", "licence", box=None, pad_edge=False)
    for model in found:
        memory = f"{model.memory:g} GB" if model.memory else "–"
        weights = "–" if model.memory is None else "here" if model.here else "to download"
        holds = model.holds_persona or "–"
        table.add_row(model.name, model.engine, memory, weights, model.place(on), holds, model.licence)
    table.caption = "persona: whether its partisans start on their own side of the scale; – has not been measured"
    table.caption_justify = "left"
    return [facts, "", packages, "", keys, "", table, "", advice(found, on)]


def advice(found: Sequence[Model], on: Machine) -> str:
    """The command to start with, and how long it takes."""
    chosen = best(found, on)
    if chosen is None:
        return "No model of conf/model fits this machine; engine=planted plays debates without one."
    text = f"best here: {_command(chosen)}" + ("" if chosen.here else " (downloads its weights first)")
    text += f"\n{_time(chosen)}"
    larger = best([model for model in found if not model.here and model.holds_persona != "no"], on)
    if chosen.here and larger and (larger.memory or 0) > (chosen.memory or 0):
        text += f"\nafter a download: {_command(larger)}"
    return text


def _command(model: Model) -> str:
    installed = conf_folder().parent == Path(__file__).resolve().parent
    return f"{'hustings simulate' if installed else 'python simulate.py'} model={model.name}"


def _time(model: Model) -> str:
    """How long a quickstart takes with a model, based on the speed of earlier runs, if artifacts/ has any."""
    from hustings.configuration import compose
    from hustings.simulation.estimate import seconds

    known = seconds(compose(f"model={model.name}"))
    if known is None:
        return f"(how long this takes here: {_command(model)} dry_run=true)"
    return f"(about {duration(known)} at the speed of earlier runs here)"
