"""The stream: how it is, in the words of `make status`, and how it was."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query

from antenna_airflow.defaults import TOPIC
from antenna_airflow.page.database import fetch, fetch_models, fetch_shared, reading
from antenna_airflow.page.models import Health, StreamFigures, StreamMinute
from antenna_airflow.page.security import MayRecompute
from include.local_stack.health import StreamFigures as DriverFigures
from include.local_stack.health import judge_stream

router = APIRouter()


@router.get("/data/health")
def health(recompute: MayRecompute, minutes: Annotated[int, Query(ge=10, le=1_440)] = 180) -> Health:
    """The stream now, and minute by minute over the last `minutes`."""
    with reading() as connection:
        driver = fetch_shared(connection, "status_stream", DriverFigures, {"topic": TOPIC})
        (now,) = fetch(connection, "stream_now", topic=TOPIC)
        past = fetch_models(connection, "stream_minutes", StreamMinute, topic=TOPIC, minutes=minutes)
    judged = judge_stream(driver)
    return Health(
        word=judged.word,
        healthy=judged.healthy,
        why=judged.why,
        advice=judged.advice,
        figures=None
        if driver is None
        else StreamFigures(
            records_per_second=driver.records_per_second,
            lag_records=driver.lag,
            lag_seconds=max(now["lag_seconds"] or 0, 0),
            last_commit=now["last_commit"],
            freshness_seconds=now["freshness_seconds"],
            accepted_last_hour=now["accepted"],
            rejected_last_hour=now["rejected"],
            epoch=driver.epoch,
            driver_pid=driver.driver_pid,
            started_age=driver.started_age,
            spark_ui_url=driver.spark_ui_url,
        ),
        minutes=past,
        may_recompute=recompute,
        now=datetime.now(UTC),
    )
