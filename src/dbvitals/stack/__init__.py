"""The pipeline behind the service: Collector, Prometheus, Alertmanager and what shows them."""
