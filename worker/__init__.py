"""The program of a Batch job: one Celery worker that serves one task queue with one pack."""
