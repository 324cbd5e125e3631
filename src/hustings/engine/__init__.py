"""Language models behind one interface: one file per kind of engine, with its settings and its `build`."""

import sys
from typing import Any

from hustings.engine.base import Engine, Order
from hustings.settings import EngineSettings


def build(settings: EngineSettings, order: Order) -> Engine:
    """The engine of these settings, with the model loaded.

    The module that defines the class of the settings has the `build` that does it.

    Raises:
        ModelError: the weights do not fit the engine.
        EngineError: it needs a package, a device or a key that is missing.
    """
    module: Any = sys.modules[type(settings).__module__]
    return module.build(settings, order)
