"""Files and formats: videos, annotations, features, artifacts, reports."""
