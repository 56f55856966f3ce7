"""What several tests share: servers, models, rows, hostile files."""
