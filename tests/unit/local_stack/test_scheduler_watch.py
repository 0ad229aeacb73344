"""When a scheduler is taken to hang."""

from include.local_stack.scheduler_watch import SchedulerWatch
from include.local_stack.settings import StackError

WELL = {"metadatabase": "healthy", "scheduler": "healthy"}
HUNG = {"metadatabase": "healthy", "scheduler": "unhealthy"}
NO_DATABASE = {"metadatabase": "unhealthy", "scheduler": "unhealthy"}


def judged(*looks: dict[str, str] | None, uptime: float = 1000) -> list[bool]:
    """What comes out of a look every 5 s; None: the API server does not answer."""
    answers = iter(looks)

    def component_health() -> dict[str, str]:
        answer = next(answers)
        if answer is None:
            raise StackError("Airflow does not answer")
        return answer

    watch = SchedulerWatch(component_health)
    return [watch.hangs(5.0 * number, uptime) for number in range(len(looks))]


def test_one_that_hangs_is_found_after_a_while() -> None:
    assert judged(WELL, HUNG, HUNG, HUNG, HUNG) == [False, False, False, True, True]


def test_one_that_recovers_is_left_alone() -> None:
    assert not any(judged(HUNG, HUNG, WELL, HUNG, HUNG, WELL))


def test_nothing_is_held_against_it_without_database_or_api_server() -> None:
    assert not any(judged(*[NO_DATABASE] * 5))
    assert not any(judged(HUNG, HUNG, None, HUNG, HUNG, NO_DATABASE, HUNG, HUNG))


def test_one_that_is_just_starting_has_time() -> None:
    assert not any(judged(*[HUNG] * 5, uptime=30))
