"""Serves the application of Celery's own integration tests, without a change to it."""

from taskpacks import PackSpec, hookimpl


@hookimpl
def taskpack_spec():
    return PackSpec(
        app="celery_suite_app:app",
        tasks=("t.integration.*", "auto_retry_class_task", "celery.ping"),
    )
