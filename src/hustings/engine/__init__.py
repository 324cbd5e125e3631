"""Language models behind one interface; `build` is the one factory."""

from hustings.engine.base import Engine
from hustings.models import Weights, as_gguf
from hustings.progress import say
from hustings.settings import (
    OpenvinoSettings,
    PlantedSettings,
    SimulateSettings,
    TransformersSettings,
)


def build(settings: SimulateSettings, weights: Weights) -> Engine:
    """The engine that the settings ask for, with the model loaded.

    Raises:
        ModelError: the weights do not fit the engine.
    """
    match settings.engine:
        case OpenvinoSettings() as engine:
            from hustings.engine.openvino import OpenvinoEngine

            gguf = as_gguf(weights, say, faithful=engine.faithful)
            return OpenvinoEngine(gguf, engine, settings.model.context)
        case TransformersSettings() as engine:
            from hustings.engine.transformers import TransformersEngine

            return TransformersEngine(weights, engine, settings.model.context)
        case PlantedSettings() as engine:
            from hustings.engine.planted import PlantedEngine

            return PlantedEngine(engine, settings.society, settings.prompt.scale, settings.seed)
