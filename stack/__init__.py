"""What is deployed: settings in, pulumi components out. The only place that imports pulumi."""
