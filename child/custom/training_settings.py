"""Settings of children that a function of the user's trains."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from child.metric import Metric

# What tables of trials have beside the validation figure.
COLUMNS = ("trial", "state", "reward", "test", "parameters", "seconds", "architecture", "reason")


class CustomTrainingSettings(BaseModel):
    """How children are limited and compared that a function of the user's trains."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    time_limit_s: float | None = Field(
        3600.0,
        gt=0,
        description="A child that is not done after so many seconds is infeasible, and where it "
        "does not report its process is ended; null: a child that hangs is waited for, for ever.",
    )
    metric_name: str = Field(
        "validation",
        min_length=1,
        max_length=40,
        description="What the validation figure is called in tables.",
    )
    metric_format: str = Field(
        ".4f", description="How it is printed, as Python's format has it, such as .1%."
    )
    is_higher_better: bool = Field(
        True, description="Whether children of a higher validation figure are the better ones."
    )
    is_deterministic: bool = Field(
        False,
        description="Sets CUBLAS_WORKSPACE_CONFIG before CUDA begins, which a trainer needs that "
        "asks torch for repeatable results on a GPU.",
    )

    @field_validator("metric_name")
    @classmethod
    def _name_is_no_other_column(cls, given: str) -> str:
        if given in COLUMNS:
            raise ValueError(f"must be none of {', '.join(COLUMNS)}, which tables have already")
        return given

    @field_validator("metric_format")
    @classmethod
    def _format_is_one(cls, given: str) -> str:
        try:
            format(0.5, given)
        except ValueError as error:
            raise ValueError("must be a format of Python's for a number, such as .1%") from error
        return given

    @property
    def metric(self) -> Metric:
        return Metric(self.metric_name, self.metric_format, self.is_higher_better)
