"""What the page's data looks like. Times are UTC; sizes are bytes, ages seconds."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel

By = Literal["antenna", "app", "user"]
Step = Literal["5min", "hour", "day"]
QuotaState = Literal["passed", "near", "within"]


class Problem(BaseModel):
    """Why there is no data, in words, and what to do next; `dag_id`: the DAG that helps."""

    kind: str
    title: str
    detail: str
    advice: str
    dag_id: str | None = None


class StreamFigures(BaseModel):
    """The stream in figures; None: not known yet."""

    records_per_second: float
    lag_records: int
    lag_seconds: float
    last_commit: datetime | None
    freshness_seconds: float | None
    accepted_last_hour: int
    rejected_last_hour: int
    epoch: int
    driver_pid: int
    started_age: float
    spark_ui_url: str | None


class StreamMinute(BaseModel):
    """`lag` in records, the largest of the minute; None: no driver ran. `records`: committed in it."""

    minute: datetime
    lag: int | None
    records: int


class Health(BaseModel):
    """The judgement of `make status`, with figures. `figures` is None before the first driver."""

    word: str
    healthy: bool
    why: str
    advice: str
    figures: StreamFigures | None
    minutes: list[StreamMinute]
    may_recompute: bool
    now: datetime


class Series(BaseModel):
    """One id over time; `values` follow `Usage.buckets`. `label` is what people call it."""

    id: str
    label: str
    values: list[int]
    total: int


class Usage(BaseModel):
    """Bytes over time: the largest ids, `others` together, and `total`, which is all of them.

    `ids` is how many there are; ranked by every `ranked_by_every`-th window. `first` and `end` are what
    was looked at: the range asked for, on the limits of its buckets.
    """

    by: By
    step: Step
    first: datetime
    end: datetime
    buckets: list[datetime]
    series: list[Series]
    others: list[int]
    total: list[int]
    ids: int
    ranked_by_every: int


class UserQuota(BaseModel):
    """A user (email) in one hour."""

    email: str
    usage: int
    quota: int
    state: QuotaState


class Quotas(BaseModel):
    """The users of an hour. `so_far`: the hour is still open. `found` users fit the search."""

    hour: datetime
    so_far: bool
    passed: int
    near: int
    found: int
    users: list[UserQuota]


class UserHour(BaseModel):
    """A user in one hour; `usage` None: nothing computed. `passed_quota`: the quota, where it was passed."""

    hour: datetime
    usage: int | None
    passed_quota: int | None


class UserHistory(BaseModel):
    """A user hour by hour, the oldest first; `quota` is today's."""

    email: str
    quota: int | None
    hours: list[UserHour]


class Hour(BaseModel):
    """An hour of event time; `state` is in the words of `make status`."""

    hour: datetime
    state: str
    events: int
    total_bytes: int
    computed_at: datetime | None
    late_events: int
    users_over_quota: int


class Hours(BaseModel):
    """Hours, the newest first; every hour before `sealed_before` is sealed."""

    sealed_before: datetime | None
    hours: list[Hour]
    may_recompute: bool


class RejectedExample(BaseModel):
    """A rejected record; `value` is its start as text, `cut` whether there is more."""

    topic: str
    partition: int
    offset: int
    kafka_timestamp: datetime | None
    reason: str
    detail: str
    value: str
    cut: bool


class Rejected(BaseModel):
    """Rejected records by reason over time, and the newest ones.

    `examples_problem` says why there are no examples, where they cannot be read.
    """

    buckets: list[datetime]
    reasons: dict[str, list[int]]
    examples: list[RejectedExample]
    examples_problem: str | None
