from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Durability(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DURABILITY_UNSPECIFIED: _ClassVar[Durability]
    DURABILITY_NONE: _ClassVar[Durability]
    DURABILITY_CHECKPOINT: _ClassVar[Durability]
    DURABILITY_JOURNAL: _ClassVar[Durability]
DURABILITY_UNSPECIFIED: Durability
DURABILITY_NONE: Durability
DURABILITY_CHECKPOINT: Durability
DURABILITY_JOURNAL: Durability

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("shard", "num_shards", "num_parameters", "layout_sha256", "is_initialized", "version", "updates", "num_repeated", "num_refused", "staleness_sum", "staleness_max", "epoch", "durability", "metrics_port")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    NUM_SHARDS_FIELD_NUMBER: _ClassVar[int]
    NUM_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_SHA256_FIELD_NUMBER: _ClassVar[int]
    IS_INITIALIZED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UPDATES_FIELD_NUMBER: _ClassVar[int]
    NUM_REPEATED_FIELD_NUMBER: _ClassVar[int]
    NUM_REFUSED_FIELD_NUMBER: _ClassVar[int]
    STALENESS_SUM_FIELD_NUMBER: _ClassVar[int]
    STALENESS_MAX_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    METRICS_PORT_FIELD_NUMBER: _ClassVar[int]
    shard: int
    num_shards: int
    num_parameters: int
    layout_sha256: bytes
    is_initialized: bool
    version: int
    updates: int
    num_repeated: int
    num_refused: int
    staleness_sum: int
    staleness_max: int
    epoch: int
    durability: Durability
    metrics_port: int
    def __init__(self, shard: _Optional[int] = ..., num_shards: _Optional[int] = ..., num_parameters: _Optional[int] = ..., layout_sha256: _Optional[bytes] = ..., is_initialized: _Optional[bool] = ..., version: _Optional[int] = ..., updates: _Optional[int] = ..., num_repeated: _Optional[int] = ..., num_refused: _Optional[int] = ..., staleness_sum: _Optional[int] = ..., staleness_max: _Optional[int] = ..., epoch: _Optional[int] = ..., durability: _Optional[_Union[Durability, str]] = ..., metrics_port: _Optional[int] = ...) -> None: ...

class InitializeRequest(_message.Message):
    __slots__ = ("layout_sha256", "values_sha256", "padding", "values")
    LAYOUT_SHA256_FIELD_NUMBER: _ClassVar[int]
    VALUES_SHA256_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    layout_sha256: bytes
    values_sha256: bytes
    padding: bytes
    values: bytes
    def __init__(self, layout_sha256: _Optional[bytes] = ..., values_sha256: _Optional[bytes] = ..., padding: _Optional[bytes] = ..., values: _Optional[bytes] = ...) -> None: ...

class InitializeResponse(_message.Message):
    __slots__ = ("version", "epoch")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    version: int
    epoch: int
    def __init__(self, version: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class PullRequest(_message.Message):
    __slots__ = ("known_version", "known_epoch")
    KNOWN_VERSION_FIELD_NUMBER: _ClassVar[int]
    KNOWN_EPOCH_FIELD_NUMBER: _ClassVar[int]
    known_version: int
    known_epoch: int
    def __init__(self, known_version: _Optional[int] = ..., known_epoch: _Optional[int] = ...) -> None: ...

class PullResponse(_message.Message):
    __slots__ = ("version", "epoch", "is_not_modified", "padding", "values")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    IS_NOT_MODIFIED_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    version: int
    epoch: int
    is_not_modified: bool
    padding: bytes
    values: bytes
    def __init__(self, version: _Optional[int] = ..., epoch: _Optional[int] = ..., is_not_modified: _Optional[bool] = ..., padding: _Optional[bytes] = ..., values: _Optional[bytes] = ...) -> None: ...

class PushRequest(_message.Message):
    __slots__ = ("replica", "sequence", "incarnation", "base_version", "wants_values", "sample_version", "padding", "gradient")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    WANTS_VALUES_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_FIELD_NUMBER: _ClassVar[int]
    replica: int
    sequence: int
    incarnation: int
    base_version: int
    wants_values: bool
    sample_version: int
    padding: bytes
    gradient: bytes
    def __init__(self, replica: _Optional[int] = ..., sequence: _Optional[int] = ..., incarnation: _Optional[int] = ..., base_version: _Optional[int] = ..., wants_values: _Optional[bool] = ..., sample_version: _Optional[int] = ..., padding: _Optional[bytes] = ..., gradient: _Optional[bytes] = ...) -> None: ...

class PushResponse(_message.Message):
    __slots__ = ("version", "updates", "staleness", "is_repeated", "epoch", "values_version", "sample_staleness", "padding", "values")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    UPDATES_FIELD_NUMBER: _ClassVar[int]
    STALENESS_FIELD_NUMBER: _ClassVar[int]
    IS_REPEATED_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    VALUES_VERSION_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_STALENESS_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    version: int
    updates: int
    staleness: int
    is_repeated: bool
    epoch: int
    values_version: int
    sample_staleness: int
    padding: bytes
    values: bytes
    def __init__(self, version: _Optional[int] = ..., updates: _Optional[int] = ..., staleness: _Optional[int] = ..., is_repeated: _Optional[bool] = ..., epoch: _Optional[int] = ..., values_version: _Optional[int] = ..., sample_staleness: _Optional[int] = ..., padding: _Optional[bytes] = ..., values: _Optional[bytes] = ...) -> None: ...

class CheckpointRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CheckpointResponse(_message.Message):
    __slots__ = ("version", "epoch")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    version: int
    epoch: int
    def __init__(self, version: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...
