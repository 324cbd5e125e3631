"""Language models behind one interface; `build` is the one factory."""

from pathlib import Path

from hustings.engine.base import Engine
from hustings.models import Weights
from hustings.settings import (
    OpenaiSettings,
    OpenvinoSettings,
    PlantedSettings,
    SimulateSettings,
    TrainSettings,
    TransformersSettings,
    VllmSettings,
)


def build(settings: SimulateSettings | TrainSettings, weights: Weights, adapter: Path | None = None) -> Engine:
    """The engine that the settings ask for, with the model loaded.

    Args:
        adapter: folder of a PEFT adapter that the transformers and vllm engines put over the model.

    Raises:
        ModelError: the weights do not fit the engine.
    """
    match settings.engine:
        case OpenvinoSettings() as engine:
            from hustings.engine.openvino import OpenvinoEngine

            return OpenvinoEngine(weights, engine, settings.model.context)
        case TransformersSettings() as engine:
            from hustings.engine.transformers import TransformersEngine

            return TransformersEngine(weights, engine, settings.model.context, adapter)
        case OpenaiSettings() as engine:
            from hustings.engine.openai import OpenaiEngine

            return OpenaiEngine(engine, settings.model)
        case VllmSettings() as engine:
            from hustings.engine.vllm import VllmEngine

            return VllmEngine(weights, engine, settings.model.context, adapter)
        case PlantedSettings() as engine:
            assert isinstance(settings, SimulateSettings)
            from hustings.engine.planted import PlantedEngine

            return PlantedEngine(engine, settings.society, settings.prompt.scale, settings.seed)
