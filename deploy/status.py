"""How a search is doing: what its ledger says, its children in training, its shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from controller.records import Activity, ChildAtWork, Progress


@dataclass(frozen=True)
class ShardHealth:
    """How a shard is, by its own answer: SERVING, NOT_SERVING or UNREACHABLE, and why."""

    address: str
    health: str
    reason: str = ""


@dataclass(frozen=True)
class Status:
    """A search as it is now, or as it ended.

    shards is None where nobody has asked them. silence_s is for how long a search that should run
    has given no sign of life, if that is too long. is_job: whether it runs as a job of a cluster.
    """

    progress: Progress
    activity: Activity
    children: Sequence[ChildAtWork] = ()
    shards: Sequence[ShardHealth] | None = None
    time_limit_s: float | None = None
    silence_s: float | None = None
    is_job: bool = False

    @property
    def seconds_left(self) -> float | None:
        """How long the search takes still, if it goes on as of late; None if that is not known."""
        progress, rate = self.progress, self.activity.trials_per_s
        if progress.state != "running":
            return None
        num_left = progress.num_trials - progress.num_recorded
        if not num_left:
            return None
        left = [] if rate is None else [num_left / rate]
        if self.time_limit_s is not None:
            left.append(max(0.0, self.time_limit_s - progress.seconds))
        return min(left, default=None)

    @property
    def is_ill(self) -> bool:
        """Whether it has failed, or gives no sign of life, or one of its shards does not serve."""
        has_ill_shard = any(shard.health != "SERVING" for shard in self.shards or ())
        has_ended_ill = self.progress.state == "failed" or self.silence_s is not None
        return has_ended_ill or has_ill_shard

    def to_json(self) -> dict[str, Any]:
        """Give all of it by name; the best trial by its number and figures."""
        progress = asdict(self.progress)
        best = self.progress.best
        progress["best"] = (
            None
            if best is None
            else {
                "trial": best.trial,
                "reward": best.reward,
                "validation": best.validation,
                "num_parameters": best.num_parameters,
                "architecture_text": best.architecture_text,
            }
        )
        return {
            **progress,
            **asdict(self.activity),
            "seconds_left": self.seconds_left,
            "silence_s": self.silence_s,
            "children": [asdict(child) for child in self.children],
            "shards": None if self.shards is None else [asdict(shard) for shard in self.shards],
        }

    def lines(self) -> list[tuple[str, str]]:
        """Give what people want to know, line by line: what it is about, and what there is."""
        told = [("trials", self._trials())]
        if self.activity.mean_reward is not None:
            told.append(("reward", self._reward()))
        if self.children and self.progress.num_in_flight:
            told.append(("children", self._children()))
        if self.activity.mean_staleness is not None:
            told.append(("pushes", self._pushes()))
        if self.shards is not None:
            told.append(("shards", self._shards()))
        return told

    def line(self) -> str:
        """Give the most of it in one line."""
        progress, activity = self.progress, self.activity
        parts = [f"trials {progress.num_recorded}/{progress.num_trials}"]
        if activity.mean_reward is not None:
            parts.append(f"mean reward {activity.mean_reward:.3f}")
        parts += self._best() + self._exceptions()
        if self.seconds_left is not None:
            parts.append(f"{duration(self.seconds_left)} left")
        return ", ".join(parts)

    def _trials(self) -> str:
        progress, activity = self.progress, self.activity
        parts = [f"{progress.num_recorded} of {progress.num_trials}"]
        if progress.num_in_flight:
            reserved = min(activity.num_reserved, progress.num_in_flight)
            parts.append(f"{progress.num_in_flight - reserved} in training")
            parts += [f"{reserved} reserved"] if reserved else []
        parts += self._exceptions()
        if progress.state == "running" and activity.trials_per_s is not None:
            parts.append(_rate(activity.trials_per_s))
        if self.seconds_left is not None:
            parts.append(f"{duration(self.seconds_left)} left")
        return ", ".join(parts)

    def _reward(self) -> str:
        activity = self.activity
        parts = [
            f"last {activity.last_reward:.3f}",
            f"mean of {min(100, self.progress.num_recorded)} {activity.mean_reward:.3f}",
        ]
        return f"{', '.join(parts + self._best())}  {sparkline(activity.curve)}"

    def _best(self) -> list[str]:
        best, metric = self.progress.best, self.progress.metric
        if best is None or best.validation is None:
            return []
        return [f"best {metric.name} {metric.text(best.validation)} (trial {best.trial})"]

    def _exceptions(self) -> list[str]:
        infeasible, reused = self.progress.num_infeasible, self.progress.num_reused
        parts = [f"{infeasible} infeasible"] if infeasible else []
        return parts + ([f"{reused} reused"] if reused else [])

    def _children(self) -> str:
        on = Counter(child.device or "a device not told yet" for child in self.children)
        devices = ", ".join(f"{device} ({number})" for device, number in sorted(on.items()))
        return f"{len(self.children)} in training on {devices}"

    def _pushes(self) -> str:
        activity = self.activity
        parts = [f"staleness mean {activity.mean_staleness:.2f}, max {activity.max_staleness}"]
        if self.progress.state == "running" and activity.pushes_per_s is not None:
            parts.insert(0, _rate(activity.pushes_per_s))
        return ", ".join(parts)

    def _shards(self) -> str:
        assert self.shards is not None
        ill = [shard for shard in self.shards if shard.health != "SERVING"]
        text = f"{len(self.shards) - len(ill)} of {len(self.shards)} SERVING"
        return "; ".join([text, *(f"{each.address} {each.health}" for each in ill)])


def sparkline(figures: Sequence[float]) -> str:
    """Draw figures in one line of text, the lowest and the highest as low and high as can be.

    >>> sparkline([0.1, 0.5, 0.3, 0.9])
    '▁▅▃█'
    """
    if not figures:
        return ""
    low, high = min(figures), max(figures)
    bars = "▁▂▃▄▅▆▇█"
    scale = (len(bars) - 1) / (high - low) if high > low else 0.0
    return "".join(bars[round((figure - low) * scale)] for figure in figures)


def duration(seconds: float) -> str:
    """Say how long something is, to the two greatest units.

    >>> duration(8), duration(200), duration(100_000), duration(1_000_000)
    ('8 s', '3 min 20 s', '1 d 3 h', '11 d 13 h')
    """
    whole = round(seconds)
    for unit, size, smaller, part in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {smaller}"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def _rate(per_s: float) -> str:
    return f"{per_s:.1f}/s" if per_s >= 1 else f"{per_s * 60:.1f}/min"
