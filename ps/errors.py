"""What can go wrong between a replica and a shard, and the status code of each on the wire."""

from __future__ import annotations

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
    UnexpectedStatus: grpc.StatusCode.UNKNOWN,  # gRPC's answer for a handler that failed
}

# The way back has more entries: a call that met its deadline may be sent again just the same.
ERRORS: dict[grpc.StatusCode, type[ShardError]] = {
    **{code: error for error, code in STATUS.items()},
    grpc.StatusCode.DEADLINE_EXCEEDED: ShardUnavailable,
}
