"""Typed, frozen settings of the three jobs, and `load`, the only function that handles an omegaconf object."""

from hustings.settings.base import KNOB, Settings, Variant, load
from hustings.settings.debate import (
    DEFAULT,
    SHADOW,
    AlarmSettings,
    AnalysisSettings,
    CastSettings,
    NoTrackerSettings,
    PersonaSettings,
    PromptSettings,
    SamplingSettings,
    SimulateSettings,
    TrackerSettings,
    TrainerSettings,
    WandbSettings,
)
from hustings.settings.evaluation import BenchmarkSettings, EvaluateSettings
from hustings.settings.instrument import InstrumentSettings, ItemSettings
from hustings.settings.judging import JudgeSettings
from hustings.settings.model import Capability, EngineSettings, ModelSettings, PriceSettings
from hustings.settings.society import (
    CompositionSettings,
    ControlSettings,
    DefaultAgentSettings,
    HumansSettings,
    PartySettings,
    SocietySettings,
    StanceSettings,
    TopicSettings,
    TopologySettings,
)
from hustings.settings.training import (
    DpoSettings,
    FineTuningSettings,
    InterviewSettings,
    LoraSettings,
    NwpSettings,
    TrainSettings,
)
from hustings.settings.treatments import TreatmentSettings

__all__ = [
    "DEFAULT",
    "KNOB",
    "SHADOW",
    "AlarmSettings",
    "AnalysisSettings",
    "BenchmarkSettings",
    "Capability",
    "CastSettings",
    "CompositionSettings",
    "ControlSettings",
    "DefaultAgentSettings",
    "DpoSettings",
    "EngineSettings",
    "EvaluateSettings",
    "FineTuningSettings",
    "HumansSettings",
    "InstrumentSettings",
    "InterviewSettings",
    "ItemSettings",
    "JudgeSettings",
    "LoraSettings",
    "ModelSettings",
    "NoTrackerSettings",
    "NwpSettings",
    "PartySettings",
    "PersonaSettings",
    "PriceSettings",
    "PromptSettings",
    "SamplingSettings",
    "Settings",
    "SimulateSettings",
    "SocietySettings",
    "StanceSettings",
    "TopicSettings",
    "TopologySettings",
    "TrackerSettings",
    "TrainSettings",
    "TrainerSettings",
    "TreatmentSettings",
    "Variant",
    "WandbSettings",
    "load",
]
