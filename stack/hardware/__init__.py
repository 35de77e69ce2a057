"""The machines of workers: shapes, instance types, who shares them, prices and costs."""
