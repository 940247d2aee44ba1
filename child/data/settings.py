"""The settings of a data set, of whichever kind."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from child.data.benchmark import BenchmarkSettings
from child.data.digits import DigitsSettings
from child.data.image_folder import FolderSettings

# Each kind can `load()` its images, and tells before that their `shape`, `num_classes`,
# `class_names` (none where they are not known), `num_train_images`, `num_validation` and
# `num_test_images`. Those of a folder look at the disk for their classes and images to test on; how
# many there are to train on they do not tell (None).
DataSettings = Annotated[
    DigitsSettings | BenchmarkSettings | FolderSettings, Field(discriminator="name")
]
