"""What workers run on: shapes, instance types, who shares machines, prices and costs."""
