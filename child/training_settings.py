"""What every child's training has, as settings; what it is trained on adds its own."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from child.precision import PrecisionName
from child.schedule import LearningRateSchedule


class TrainingSettings(BaseModel):
    """How a child is trained and rewarded, whatever it is trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    num_epochs: int = Field(ge=1, le=1_000_000)
    learning_rate: float = Field(gt=0, description="Of the first epoch.")
    schedule: LearningRateSchedule
    reward_epochs: int = Field(5, ge=1, description="The best of the last so many epochs counts.")
    precision: PrecisionName = Field("auto", description="See `child.precision.Precision`.")
    is_deterministic: bool = Field(
        False,
        description="A GPU, too, gives the same child the same figures, bit for bit. Needs "
        "CUBLAS_WORKSPACE_CONFIG=:4096:8 in its environment.",
    )
    time_limit_s: float | None = Field(
        None, gt=0, description="A child that is not done by then is infeasible."
    )
    max_parameters: int | None = Field(
        None, ge=1, description="A child of more of them is infeasible."
    )
