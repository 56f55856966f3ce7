"""What the detector did, written down and watched: prediction log, prompt probe, drift, diagnosis, dashboards."""
