"""Language models behind one interface: one file per kind of engine, with its settings and its `build`."""

import sys
from typing import Any

from hustings.engine.base import Engine, Order
from hustings.settings import EngineSettings


def build(settings: EngineSettings, order: Order) -> Engine:
    """Build the engine for these settings and load its model.

    The work is done by `build` in the module that defines the settings' class.

    Raises:
        ModelError: the weights do not fit the engine.
        EngineError: the engine needs a package, a device or a key that is missing.
    """
    module: Any = sys.modules[type(settings).__module__]
    return module.build(settings, order)
