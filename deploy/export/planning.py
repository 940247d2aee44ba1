"""What is written of a network: the plan of its kind."""

from __future__ import annotations

from typing import Any

from child.images.task import ImageTask
from child.language.task import LanguageTask
from deploy.export.image_plan import image_plan
from deploy.export.language_plan import language_plan
from deploy.export.plan import ExportPlan
from deploy.settings import NetworkSearchSettings


def export_plan(settings: NetworkSearchSettings, architecture: Any, data: Any) -> ExportPlan:
    """Give what is written of a network that these settings were trained with.

    Args:
        data: what a child saw.
    """
    match settings.task:
        case ImageTask() as task:
            return image_plan(task, architecture, data, settings.data.class_names)
        case LanguageTask() as task:
            size = task.size(architecture, data)
            assert size is not None, "the model has been built"
            return language_plan(task, architecture, data, size)
        case other:
            raise AssertionError(f"{other}: must be one of the kinds of search")
