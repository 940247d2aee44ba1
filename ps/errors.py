"""What can go wrong between a replica and a shard, or a shard and its disk; the status codes."""

from __future__ import annotations

from pathlib import Path

import grpc


class ShardError(Exception):
    """A parameter-server shard did not do what was asked. What it refuses changes nothing on it.

    ShardError
      ShardUnavailable      nobody answered in time: it may have been done; safe to send again
      InvalidRequest        wrong length, not finite, impossible number; a bug in the caller
      NotInitialized        the shard holds no values: initialize it, or it has lost its state
      InitializedOtherwise  the shard holds the values of another search or layout
      OutOfSequence         not the next push of this replica, nor its last one
      PastIncarnation       a newer life of this replica has pushed; this one must end
      StalePush             too stale for the shard's bound; pull, compute again, push
      NotPermitted          the certificate does not name somebody who may do this
      StateLost             the shard is behind what it had acknowledged; the search must end
      UnexpectedStatus      a status that no shard gives on purpose: a bug in it, or not a shard
    """


class ShardUnavailable(ShardError):
    """Nobody answered in time. The push may or may not have been applied; send it again."""


class InvalidRequest(ShardError):
    """The request cannot be right, whenever it is sent."""


class NotInitialized(ShardError):
    """The shard holds no values."""


class InitializedOtherwise(ShardError):
    """The shard was initialized with other values or another layout."""


class OutOfSequence(ShardError):
    """The push is neither the replica's next one nor its last one."""


class PastIncarnation(ShardError):
    """A newer incarnation of the replica has pushed to this shard."""


class StalePush(ShardError):
    """The shard has accepted more pushes since the pull than its settings allow."""


class NotPermitted(ShardError):
    """The caller's certificate names nobody who may make this call."""


class StateLost(ShardError):
    """A shard with a journal has a lower version than it had acknowledged."""


class UnexpectedStatus(ShardError):
    """The call ended with a status that is in no other row of the table.

    gRPC's own error would say as much, but cannot be pickled on its way out of a replica.
    """


STATUS: dict[type[ShardError], grpc.StatusCode] = {
    ShardUnavailable: grpc.StatusCode.UNAVAILABLE,
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    NotInitialized: grpc.StatusCode.NOT_FOUND,
    InitializedOtherwise: grpc.StatusCode.ALREADY_EXISTS,
    OutOfSequence: grpc.StatusCode.FAILED_PRECONDITION,
    PastIncarnation: grpc.StatusCode.ABORTED,
    StalePush: grpc.StatusCode.OUT_OF_RANGE,
    NotPermitted: grpc.StatusCode.PERMISSION_DENIED,
    StateLost: grpc.StatusCode.DATA_LOSS,
    UnexpectedStatus: grpc.StatusCode.UNKNOWN,  # gRPC's answer for a handler that failed
}

# The way back has more entries: a call that met its deadline may be sent again just the same.
ERRORS: dict[grpc.StatusCode, type[ShardError]] = {
    **{code: error for error, code in STATUS.items()},
    grpc.StatusCode.DEADLINE_EXCEEDED: ShardUnavailable,
    grpc.StatusCode.CANCELLED: ShardUnavailable,  # gRPC's answer to calls that a stop cuts off
}


class StateError(Exception):
    """The state of a shard on disk cannot be used, or no longer; the shard must end.

    StateError
      CorruptState   a file does not hold what was written to it; names file and offset
      StateMismatch  it belongs to another shard, layout or settings
      StateInUse     another process of this host holds it
      PastEpoch      a newer life of the shard has taken over
      DiskFailure    it could not be written or synced: a full or broken disk
      RemoteFailure  the store at checkpoint_url cannot be used: package, access or network
      NotAtRest      the shards hold no common moment of their search, and cannot be cut anew
    """


class CorruptState(StateError):
    """A file does not hold what was written to it, where no crash can have cut it short."""

    def __init__(self, path: Path, offset: int, what: str) -> None:
        """Name the file, the offset in bytes at which it is wrong, and what is wrong there."""
        self.what = f"{path}, offset {offset}: {what}"
        super().__init__(
            f"{self.what}; the shard does not start on it, since acknowledged pushes would be lost "
            "in silence: restore the folder from a copy, or end this search"
        )
        self._arguments = (path, offset, what)

    def __reduce__(self) -> tuple[type[CorruptState], tuple[Path, int, str]]:
        """Travel with what it was made from."""
        return type(self), self._arguments


class StateMismatch(StateError):
    """The folder holds the state of another shard, layout or settings."""


class StateInUse(StateError):
    """Another process of this host holds the folder."""


class PastEpoch(StateError):
    """A newer life of the shard has taken over the folder."""


class DiskFailure(StateError):
    """The state could not be written or synced."""


class RemoteFailure(StateError):
    """The store of checkpoints at a URL did not do what it should."""


class NotAtRest(StateError):
    """The shards hold no common moment of their search; they are as they were."""
