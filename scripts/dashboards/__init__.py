"""Makes ``dashboards/*.json`` for Grafana 11 to 13 from the names of the contract: one dashboard a module."""
