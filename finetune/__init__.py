"""Fine-tune a pretrained backbone on your own data, and get back a model that can be trusted."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .check import check as check
    from .checkup import Checkup as Checkup
    from .compare import Comparison as Comparison
    from .compare import compare as compare
    from .data.findings import Finding as Finding
    from .data.generated import generated_picture as generated_picture
    from .data.options import Data as Data
    from .data.readers import read_image as read_image
    from .errors import ConfigError as ConfigError
    from .errors import DataError as DataError
    from .errors import FinetuneError as FinetuneError
    from .errors import RunFolderError as RunFolderError
    from .errors import TrainingError as TrainingError
    from .errors import WeightsError as WeightsError
    from .estimator import ImageClassifier as ImageClassifier
    from .estimator import ImageRegressor as ImageRegressor
    from .explaining.channel import Channel as Channel
    from .explaining.explanation import Explanation as Explanation
    from .export.exported import Exported as Exported
    from .fit import evaluate as evaluate
    from .fit import explain as explain
    from .fit import fit as fit
    from .lightning import datamodule as datamodule
    from .lightning import lightning_module as lightning_module
    from .model import Model as Model
    from .model import load as load
    from .models.backbones import list_backbones as list_backbones
    from .models.options import Backbone as Backbone
    from .models.options import EmbeddingHead as EmbeddingHead
    from .models.options import LinearHead as LinearHead
    from .models.options import MLPHead as MLPHead
    from .ranking.rank import rank as rank
    from .ranking.ranking import Ranked as Ranked
    from .ranking.ranking import Ranking as Ranking
    from .recipe import Recipe as Recipe
    from .recipe import read_recipe as read_recipe
    from .report.attributed import occlusion as occlusion
    from .report.channels import channel_peaks as channel_peaks
    from .report.channels import draw_filters as draw_filters
    from .report.channels import strongest as strongest
    from .report.deconvnet import traced_back as traced_back
    from .report.explained import signal_picture as signal_picture
    from .report.explained import signal_square as signal_square
    from .report.figures import Panel as Panel
    from .report.figures import Plot as Plot
    from .report.figures import draw_plots as draw_plots
    from .report.figures import draw_sheet as draw_sheet
    from .shipped import load_recipe as load_recipe
    from .similarity import neighbours as neighbours
    from .similarity import retrieval as retrieval
    from .study import Studied as Studied
    from .study import Study as Study
    from .study import run_study as run_study
    from .tasks.options import Classify as Classify
    from .tasks.options import Embed as Embed
    from .tasks.options import Regress as Regress
    from .tasks.options import Tag as Tag
    from .training.freeze import frozen as frozen
    from .training.methods import Method as Method
    from .training.methods import list_methods as list_methods
    from .training.phase import Phase as Phase
    from .training.phases import run_phases as run_phases
    from .training.plan import Plan as Plan
    from .training.rates import param_groups as param_groups
    from .tuning.trials import Tuned as Tuned
    from .tuning.tune import tune as tune

# Where each public name lives. It is imported when it is first asked for, so that `import finetune` costs nothing.
_PLACES = {
    "Backbone": "models.options",
    "Channel": "explaining.channel",
    "Checkup": "checkup",
    "Classify": "tasks.options",
    "Comparison": "compare",
    "ConfigError": "errors",
    "Data": "data.options",
    "DataError": "errors",
    "Embed": "tasks.options",
    "EmbeddingHead": "models.options",
    "Explanation": "explaining.explanation",
    "Exported": "export.exported",
    "Finding": "data.findings",
    "FinetuneError": "errors",
    "ImageClassifier": "estimator",
    "ImageRegressor": "estimator",
    "LinearHead": "models.options",
    "MLPHead": "models.options",
    "Method": "training.methods",
    "Model": "model",
    "Panel": "report.figures",
    "Phase": "training.phase",
    "Plan": "training.plan",
    "Plot": "report.figures",
    "Ranked": "ranking.ranking",
    "Ranking": "ranking.ranking",
    "Recipe": "recipe",
    "Regress": "tasks.options",
    "RunFolderError": "errors",
    "Studied": "study",
    "Study": "study",
    "Tag": "tasks.options",
    "TrainingError": "errors",
    "Tuned": "tuning.trials",
    "WeightsError": "errors",
    "channel_peaks": "report.channels",
    "check": "check",
    "compare": "compare",
    "datamodule": "lightning",
    "draw_filters": "report.channels",
    "draw_plots": "report.figures",
    "draw_sheet": "report.figures",
    "evaluate": "fit",
    "explain": "fit",
    "fit": "fit",
    "frozen": "training.freeze",
    "generated_picture": "data.generated",
    "lightning_module": "lightning",
    "list_backbones": "models.backbones",
    "list_methods": "training.methods",
    "load": "model",
    "load_recipe": "shipped",
    "neighbours": "similarity",
    "occlusion": "report.attributed",
    "param_groups": "training.rates",
    "rank": "ranking.rank",
    "read_image": "data.readers",
    "read_recipe": "recipe",
    "retrieval": "similarity",
    "run_phases": "training.phases",
    "run_study": "study",
    "signal_picture": "report.explained",
    "signal_square": "report.explained",
    "strongest": "report.channels",
    "traced_back": "report.deconvnet",
    "tune": "tuning.tune",
}

__all__ = sorted(_PLACES)  # the table is the one list of public names
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'finetune' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


class _Package(ModuleType):
    """Keeps `finetune.fit` and `finetune.evaluate` the functions, though files are called so too."""

    def __setattr__(self, name: str, value: Any) -> None:
        # Importing a file binds it in its package, whenever that happens, and would so replace the function.
        if name not in _PLACES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
