"""`nasrl reshard`: give a stopped search another number of shards."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.mistake import UserMistake

if TYPE_CHECKING:
    from deploy.run import Run
    from deploy.settings import SearchSettings
    from ps.disk import Disk

# What stands at num_shards in settings.yaml while the shards are being exchanged. It is no number,
# so that nothing can be started with these settings, and whoever tries is shown it.
_EXCHANGING = "{old} is being changed to {new}: repeat `nasrl reshard RUN --num-shards {new}`"
_EXCHANGED = re.compile(r"(\d+) is being changed to (\d+): .*")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--num-shards", type=click.IntRange(min=1), required=True, help="From now on.")
@click.option(
    "--address",
    "addresses",
    metavar="HOST:PORT",
    multiple=True,
    help="Where a new shard will be; once for each, if shards.addresses names the old ones.",
)
def reshard(run: Path, num_shards: int, addresses: tuple[str, ...]) -> None:
    """Give a stopped search another number of shards.

    RUN is its run directory. The policy's weights, what the optimizer remembers and the counts of
    pushes are the same to the last bit on the new shards; RUN/settings.yaml tells their number. The
    old state is kept in RUN/shards-of-N. If this is interrupted, the same command finishes it.
    """
    from controller.errors import LedgerError
    from deploy.run import Run, RunError
    from deploy.settings_file import SettingsError
    from ps.disk import Disk
    from ps.errors import NotAtRest, PastEpoch, StateError, StateInUse, StateMismatch

    try:
        kept = change_num_shards(Run(run), num_shards, addresses, Disk())
    except (RunError, SettingsError, LedgerError) as error:
        raise UserMistake(str(error)) from error
    except (StateInUse, PastEpoch) as error:
        raise UserMistake(
            f"the search of {run} must be stopped first, with nasrl stop: {error}"
        ) from error
    except (NotAtRest, StateMismatch) as error:
        raise UserMistake(str(error)) from error
    except StateError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{run}: {error}; repeat the command to finish it") from error
    click.echo(
        f"{run} has {num_shards} shards from now on; `nasrl search --resume {run}` goes on with "
        f"them. What the old ones held is kept in {kept}, and can be removed."
    )


def change_num_shards(run: Run, num_shards: int, addresses: Sequence[str], disk: Disk) -> Path:
    """Exchange the shards of a run, and give the folder in which the old ones are kept.

    settings.yaml says which shards count. The new ones are made beside the old; then it says that
    they are being exchanged, and nothing starts; they are; then it gives their number. A crash
    before that leaves the old shards, a later one what a repeat finishes.

    Args:
        addresses: for shards.addresses in the settings; empty where the search starts its shards.

    Raises:
        UserMistake: the run has so many already, or keeps nothing on disk.
        RunError, SettingsError, LedgerError, StateError: it cannot be done; nothing has changed.
        OSError: interrupted; a repeat finishes it.
    """
    from deploy.run import write_settings
    from deploy.settings_file import load_settings
    from ps.folder import shard_folder

    path = run.path / "settings.yaml"
    shards = shard_folder(run.path, 0).parent
    staged = shards.with_name("shards.resharded")
    exchange = _exchange_in(path)
    old = load_settings(path, [] if exchange is None else [f"num_shards={exchange[0]}"])
    if old.shards.addresses and not addresses:
        raise UserMistake(
            f"shards.addresses names {old.num_shards} shards that somebody else starts: --address "
            f"must be given once for each of the new ones, {num_shards} times"
        )
    new = load_settings(
        path, [f"num_shards={num_shards}", f"shards.addresses={json.dumps(addresses)}"]
    )
    if exchange is not None and exchange[1] != num_shards:
        raise UserMistake(
            f"--num-shards {num_shards}: the change from {exchange[0]} to {exchange[1]} was "
            f"interrupted: must be {exchange[1]} first, to finish it"
        )
    if exchange is not None and shards.is_dir() and staged.is_dir():
        # The old ones are in their place still, and may have been started by hand since.
        write_settings(disk, path, old.to_yaml(), old.has_secret)
        exchange = None
    if exchange is None:
        if old.num_shards == num_shards:
            raise UserMistake(
                f"--num-shards {num_shards}: {run.path} has {num_shards} "
                f"shard{'s' * (num_shards > 1)} already"
            )
        kept = _exchange(run, old, num_shards, disk, staged)
    else:
        if staged.is_dir():
            disk.rename(staged, shards)
            disk.sync_folder(run.path)
        if not shards.is_dir():
            raise UserMistake(
                f"{run.path} has neither {shards.name} nor {staged.name}: restore one"
            )
        kept = _newest_kept(run.path, old.num_shards)
    write_settings(disk, path, new.to_yaml(), new.has_secret)
    return kept


def _exchange(run: Run, old: SearchSettings, num_shards: int, disk: Disk, staged: Path) -> Path:
    """Put new shards in the place of the old ones, which are kept in the folder returned."""
    from deploy.run import write_settings
    from ps.folder import shard_folder
    from ps.plan import ShardPlan
    from ps.reshard import reshard

    if old.shards.durability == "none":
        raise UserMistake(
            f"{run.path} keeps nothing on disk (shards.durability: none): must be journal or "
            "checkpoint for its state to be cut anew"
        )
    shards = shard_folder(run.path, 0).parent
    if not shards.is_dir():
        raise UserMistake(f"{run.path} has no state of shards: its search has not begun")
    untrained = old.untrained()
    plans = [
        ShardPlan(untrained.layout, shard, old.optimizer, old.updates)
        for shard in range(old.num_shards)
    ]
    sources = [shard_folder(run.path, shard) for shard in range(old.num_shards)]
    if staged.is_dir():  # of an attempt that was killed before it counted
        shutil.rmtree(staged)
    with reshard(sources, plans, staged, num_shards, old.shards.durability, untrained.values, disk):
        try:
            # Asked when no shard answers any more, so that no push ends on them behind it.
            _check_pushes(run)
        except Exception:
            shutil.rmtree(staged)
            raise
        exchanging = _EXCHANGING.format(old=old.num_shards, new=num_shards)
        text = _to_yaml(old, exchanging)
        write_settings(disk, run.path / "settings.yaml", text, old.has_secret)
        kept = next(path for path in _kept(run.path, old.num_shards) if not path.exists())
        disk.rename(shards, kept)
        disk.sync_folder(run.path)
        disk.rename(staged, shards)
        disk.sync_folder(run.path)
    return kept


def _check_pushes(run: Run) -> None:
    """Return if no push is on its way: it would carry the versions of the old shards."""
    with run.ledger() as ledger:
        pushes = [push for push in ledger.pushes() if push.closed_at is None]
    if pushes:
        names = ", ".join(f"r{push.replica}#{push.sequence}" for push in pushes)
        raise UserMistake(
            f"{run.path} has open pushes ({names}): must have none; go on with the search (nasrl "
            f"search --resume {run.path}) and stop it again, by one Ctrl-C or nasrl stop: it ends "
            "with all its pushes finished"
        )


def _exchange_in(path: Path) -> tuple[int, int] | None:
    """Give the old and the new number of shards, if the settings say that they are exchanged."""
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None  # whoever reads the settings next says what is wrong with them
    said = data.get("num_shards") if isinstance(data, dict) else None
    match = _EXCHANGED.fullmatch(said) if isinstance(said, str) else None
    return None if match is None else (int(match[1]), int(match[2]))


def _to_yaml(settings: SearchSettings, num_shards: str) -> str:
    import yaml

    said = settings.model_dump(mode="json") | {"num_shards": num_shards}
    return yaml.safe_dump(said, sort_keys=False)


def _kept(run: Path, num_shards: int) -> Iterator[Path]:
    """Give the names under which old shards are kept, in the order in which they are taken."""
    yield run / f"shards-of-{num_shards}"
    for number in count(2):
        yield run / f"shards-of-{num_shards}-{number}"


def _newest_kept(run: Path, num_shards: int) -> Path:
    newest = run
    for path in _kept(run, num_shards):
        if not path.exists():
            break
        newest = path
    return newest
