"""Act: retries, pools that resize, and query caches."""
