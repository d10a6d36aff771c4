"""Reads a folder of records by Ray, in the environment of this folder, and prints rows as JSON."""

import json
import sys

import ray
from ray.data.datasource.partitioning import Partitioning

ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR")
rows = ray.data.read_parquet(sys.argv[1], partitioning=Partitioning("hive")).take_all()
print(json.dumps([{name: row[name] for name in sys.argv[2:]} for row in rows]))
