"""How the policy learns from rewards, beyond the paper."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class LearningSettings(BaseModel):
    """How the policy learns from rewards. The defaults leave REINFORCE as in the paper."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    entropy_bonus: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="What a nat of the policy's entropy is worth, in rewards, so that it does not "
        "settle on one network early: the entropies of all decisions of a network are added, and "
        "the mean over networks counts. Mnih et al. 2016 (A3C), s4; 0 in Zoph & Le 2017.",
    )
    clip: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="strategy ppo: how much more or less probable a decision may get than when it "
        "was sampled before it stops to count, as a fraction. Schulman et al. 2017, s6.1.",
    )
    epochs: int = Field(
        3,
        ge=1,
        le=100,
        description="strategy ppo: gradients that one set of rewards is used for. 1 is REINFORCE, "
        "but for rewards that are weighted anew, as with rounds.correction: clip: there the first "
        "gradient, too, meets the clip. Schulman et al. 2017, table 5.",
    )
    inner_step: float = Field(
        0.3,
        gt=0,
        le=1000,
        description="strategy ppo: how far the policy is moved between these gradients, along "
        "each, as the Euclidean distance of its weights. By 0.3 the decisions of a policy that has "
        "not learned yet get about 6 % more or less probable.",
    )
