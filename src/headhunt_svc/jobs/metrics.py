"""Prometheus metrics of a worker; the rules in monitoring/alerts-jobs.yml use these names."""

from prometheus_client import Counter, Gauge

JOBS = Gauge("headhunt_jobs", "Jobs by state.", ["state"])
VIDEOS = Gauge("headhunt_job_videos", "Videos of jobs by state; every retry of one counts.", ["state"])
QUEUE_AGE_SECONDS = Gauge("headhunt_job_queue_age_seconds", "How long the oldest video has waited.")
HEARTBEAT = Gauge(
    "headhunt_worker_heartbeat_timestamp_seconds", "When the worker last did its housekeeping.", ["worker"]
)
RETRIES = Counter("headhunt_job_retries", "Attempts that failed and are made again, by cause.", ["cause"])
RESTARTS = Gauge("headhunt_scorer_restarts", "How often the scoring process had to be started again.")
DATABASE_ERRORS = Counter("headhunt_job_database_errors", "How often the database did not answer.")
