"""Who runs on what: the model, the adapter and the engine of every role, and the engines that a run needs."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hustings import adapters, models
from hustings.engine.base import Engine, Order
from hustings.engine.lazy import SURVEYED, CastEngine, LazyEngine
from hustings.identity import canonical
from hustings.merging import ADAPTER_FILE
from hustings.settings import DEFAULT, EngineSettings, ModelSettings, SimulateSettings


@dataclass(frozen=True, slots=True)
class Seat:
    """What the agents of one role run on."""

    model: ModelSettings
    engine: EngineSettings
    weights: models.Weights
    adapter: adapters.Adapter | None
    scale: float = 1.0
    """The factor by which the adapter's weights are multiplied."""

    @property
    def words(self) -> str:
        """`smollm2 with republican_nwp_r8_s1 on openvino`."""
        times = "" if self.scale == 1 else f" × {self.scale:g}"
        name = f"{self.weights.name} with {self.adapter.name}{times}" if self.adapter else self.weights.name
        return f"{name} on {self.engine.kind}"

    @property
    def base(self) -> "Seat":
        """The same seat without its adapter."""
        return Seat(self.model, self.engine, self.weights, None)

    def substance(self) -> dict[str, Any]:
        """Everything that changes the output."""
        found: dict[str, Any] = {"model": self.weights.fingerprint, "engine": self.engine.substance()}
        if self.adapter is not None:
            found["adapter"] = self.adapter.manifest["files"][ADAPTER_FILE]
            if self.scale != 1:
                found["adapter_scale"] = self.scale
        return found


class Casting:
    """What every role of a run runs on; engines are loaded on first use, and shared by roles that need the same one.

    Args:
        settings: the run's settings.
        download: whether to download missing weights; if not, perhaps only their names are known.

    Raises:
        ModelError: weights are missing, damaged or retired.
        AdapterError: there is no such adapter, or it belongs to another model.
    """

    def __init__(self, settings: SimulateSettings, *, download: bool = True) -> None:
        self._settings, self._download = settings, download
        self._store = Path(settings.artifacts)
        self._engines: dict[str, LazyEngine] = {}
        self.main = self._seat(settings.model, settings.engine, settings.adapter)
        """The seat of every role that has none of its own."""
        self.own = {role: self._seat(it.model, it.engine, it.adapter) for role, it in settings.cast.items()}
        """The seats of the roles in `cast`."""
        self._speaks_only = {role for role, it in settings.cast.items() if it.scope == "replies"}

    def _seat(self, model: ModelSettings, engine: EngineSettings, adapter: str | None) -> Seat:
        if not engine.needs_weights:
            return Seat(model, engine, models.Weights(engine.kind, engine.kind, None, None), None)
        weights = models.resolve(model, download=self._download)
        found = adapters.find(self._store, weights, adapter) if adapter and weights.fingerprint else None
        return Seat(model, engine, weights, found, self._settings.adapter_scale if found else 1.0)

    def of(self, role: str) -> Seat:
        """What the agents of a role run on; advocates and the shadow run on the same as the Default."""
        seated = role in self._settings.composition.everybody
        return self.own.get(role if seated else DEFAULT, self.main)

    @property
    def words(self) -> dict[str, str]:
        """What each role runs on, in words."""
        return {role: self.of(role).words for role in self._settings.roles}

    def debaters(self) -> Engine:
        """The engine that plays the debates.

        Raises:
            ModelError: the models do not fit into memory together.
        """
        seats = {role: self.of(role) for role in self._settings.roles}
        surveyed = {f"{role}{SURVEYED}": self.main for role in seats if role in self._speaks_only}
        self._check_memory([*seats.values(), *surveyed.values()])
        return self._engine(seats | surveyed)

    def _check_memory(self, seats: Iterable[Seat]) -> None:
        """Refuse models that are loaded here and do not fit into memory together."""
        here = {self._key(seat): seat for seat in seats if seat.model.memory_gb and seat.engine.hardware == "cpu"}
        if len(here) > 1 and not any(self._key(seat) in self._engines for seat in here.values()):
            models.check_together([(seat.words, seat.model.memory_gb or 0.0) for seat in here.values()])

    def engine_of(self, role: str) -> Engine:
        """The engine of one role."""
        return self._lazy(self.of(role))

    def writers(self, parties: Iterable[str]) -> Engine:
        """The engine that writes the personas of these parties: each party's own model, without its adapter."""
        return self._engine({party: self.of(party).base for party in parties})

    def _engine(self, seats: dict[str, Seat]) -> Engine:
        engines: dict[str, Engine] = {role: self._lazy(seat) for role, seat in seats.items()}
        different = list({id(engine): engine for engine in engines.values()}.values())
        return different[0] if len(different) == 1 else CastEngine(engines)

    def _lazy(self, seat: Seat) -> LazyEngine:
        key = self._key(seat)
        if key not in self._engines:
            folder = adapters.scaled(seat.adapter, seat.scale) if seat.adapter else None
            order = Order(seat.model, seat.weights, folder, self._settings)
            self._engines[key] = LazyEngine(seat.engine, order, seat.words)
        return self._engines[key]

    def _key(self, seat: Seat) -> str:
        """A key that is the same for seats that share an engine."""
        return canonical([seat.model.model_dump(mode="json"), seat.engine.model_dump(mode="json"),
                          [seat.adapter.id, seat.scale] if seat.adapter else None])  # fmt: skip

    def close(self, keep: Engine | None = None) -> None:
        """Free what the engines hold.

        Args:
            keep: an engine that is still needed, with all its members.
        """
        kept = keep.members if isinstance(keep, CastEngine) else [keep]
        for engine in self._engines.values():
            if not any(engine is it for it in kept):
                engine.close()
