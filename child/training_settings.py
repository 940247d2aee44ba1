"""What every child's training has, as settings; what it is trained on adds its own."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from child.precision import PrecisionName
from child.schedule import LearningRateSchedule


class TrainingSettings(BaseModel):
    """How a child is trained and rewarded, whatever it is trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    num_epochs: int = Field(ge=1, le=1_000_000, description="Passes over what is trained on.")
    learning_rate: float = Field(gt=0, description="Size of a step in the first epoch.")
    schedule: LearningRateSchedule
    reward_epochs: int = Field(
        5, ge=1, description="The reward is made from the best of the last so many epochs."
    )
    precision: PrecisionName = Field(
        "auto",
        description="Number format of convolutions and products. auto: float32 on a CPU, and on a "
        "GPU bfloat16 where it computes in that, else float16.",
    )
    is_deterministic: bool = Field(
        False,
        description="A GPU, too, gives the same child the same figures, bit for bit. Needs "
        "CUBLAS_WORKSPACE_CONFIG=:4096:8 in its environment.",
    )
    time_limit_s: float | None = Field(
        None,
        gt=0,
        description="A child that is not done after so many seconds is infeasible; null: none is.",
    )
    max_parameters: int | None = Field(
        None, ge=1, description="A child of more weights is infeasible; null: none is."
    )
